//! Coalitions that are evaluated together.

use ndarray::Array2;

use super::coalition::Coalition;

/// Coalitions of equal size from one or more images: each row is an image's base set with one player flipped.
///
/// ```
/// use interpix::search::{Score, Search, SearchOptions, Task};
/// use ndarray::array;
///
/// // Both ends are known, so that an insertion begins with each player alone.
/// let end = |holds| Some(Score { reward: 0.0, answer: 0.5, predicted: None, holds });
/// let task = |players| Task { players, full: end(true), empty: end(false) };
/// let batch = Search::new(vec![task(2), task(3)], SearchOptions::default())?.ask().unwrap();
/// assert_eq!((batch.size(), batch.owner()), (1, &[0, 0, 1, 1, 1][..]));
/// assert_eq!(batch.kept(), array![[0], [1], [0], [1], [2]]);
/// assert_eq!(batch.masks_of_owner(0), array![[true, false], [false, true]]);
/// assert_eq!((batch.base(1).unwrap().size(), batch.flip()[4]), (0, Some(2))); // the last is nobody and 2
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    size: usize,
    owner: Vec<usize>,
    flip: Vec<Option<usize>>,
    /// Ascending by image; every owner has one.
    bases: Vec<(usize, Coalition)>,
}

impl Batch {
    pub(super) fn new(size: usize) -> Self {
        Self { size, owner: Vec::new(), flip: Vec::new(), bases: Vec::new() }
    }

    /// Adds rows of an image above all images that are already here.
    pub(super) fn push(&mut self, image: usize, base: Coalition, flips: &[Option<usize>]) {
        self.owner.extend(std::iter::repeat_n(image, flips.len()));
        self.flip.extend_from_slice(flips);
        self.bases.push((image, base));
    }

    /// Number of coalitions (rows).
    pub fn len(&self) -> usize {
        self.owner.len()
    }

    /// Whether there is no coalition; never true for a batch of a search.
    pub fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    /// Number of players that are present, the same in every row.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The image of each row, ascending.
    pub fn owner(&self) -> &[usize] {
        &self.owner
    }

    /// The player of each row that differs from its image's base set; `None`: the base set itself.
    pub fn flip(&self) -> &[Option<usize>] {
        &self.flip
    }

    /// The base set of an image that has rows here.
    pub fn base(&self, owner: usize) -> Option<&Coalition> {
        let index = self.bases.binary_search_by_key(&owner, |(image, _)| *image).ok()?;
        Some(&self.bases[index].1)
    }

    /// The base sets, by image, (images, players); `true` = present. An image with fewer players than others has `false`
    /// beyond its own.
    pub fn bases(&self) -> Array2<bool> {
        let mut bases = Array2::from_elem((self.bases.len(), self.players()), false);
        for (mut presence, (_, base)) in bases.rows_mut().into_iter().zip(&self.bases) {
            base.members().for_each(|member| presence[member] = true);
        }
        bases
    }

    /// For each row, the number of its image's base set among `bases`.
    pub fn base_of_rows(&self) -> impl Iterator<Item = usize> + '_ {
        let mut number = 0;
        self.owner.iter().map(move |&owner| {
            while self.bases[number].0 < owner {
                number += 1;
            }
            number
        })
    }

    /// The coalitions, row by row.
    pub fn coalitions(&self) -> impl Iterator<Item = Coalition> + '_ {
        (0..self.len()).map(|row| self.coalition(row))
    }

    /// The coalition of one row.
    pub fn coalition(&self, row: usize) -> Coalition {
        let mut coalition = self.base(self.owner[row]).expect("every owner has a base").clone();
        if let Some(player) = self.flip[row] {
            coalition.flip(player);
        }
        coalition
    }

    /// Largest number of players of the images that have rows here.
    pub fn players(&self) -> usize {
        self.bases.iter().map(|(_, base)| base.players()).max().unwrap_or(0)
    }

    /// Presence, (rows, players), `true` = present. An image with fewer players than others has `false` beyond its own.
    pub fn masks(&self) -> Array2<bool> {
        self.masks_of(0..self.len(), self.players())
    }

    /// Presence in the rows of one image, (its rows, its players), `true` = present.
    pub fn masks_of_owner(&self, owner: usize) -> Array2<bool> {
        let first = self.owner.partition_point(|&image| image < owner);
        let end = self.owner.partition_point(|&image| image <= owner);
        self.masks_of(first..end, self.base(owner).map_or(0, Coalition::players))
    }

    /// Present players of each row, ascending, (rows, size).
    pub fn kept(&self) -> Array2<u32> {
        let mut kept = Array2::zeros((self.len(), self.size));
        for (mut row, coalition) in kept.rows_mut().into_iter().zip(self.coalitions()) {
            row.iter_mut().zip(coalition.members()).for_each(|(slot, member)| *slot = member as u32);
        }
        kept
    }

    fn masks_of(&self, rows: std::ops::Range<usize>, players: usize) -> Array2<bool> {
        let mut masks = Array2::from_elem((rows.len(), players), false);
        for (mut mask, row) in masks.rows_mut().into_iter().zip(rows) {
            self.coalition(row).members().for_each(|member| mask[member] = true);
        }
        masks
    }
}
