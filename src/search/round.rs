//! A whole step of some images, whose candidates the evaluator lists itself.

use ndarray::Array2;

use super::coalition::Coalition;

/// One step of some images whose sets have equally many players, of as many in all: which one to flip next?
///
/// Insertion: every absent player is a candidate; deletion: every present one.
///
/// ```
/// use interpix::search::{Score, Search, SearchOptions, Task};
///
/// let end = |holds| Some(Score { reward: 0.0, answer: 0.5, predicted: None, holds });
/// let task = Task { players: 3, full: end(true), empty: end(false) };
/// let mut search = Search::new(vec![task.clone(), task], SearchOptions::default())?;
/// // A round for each half of the images, until one of them is told.
/// let (first, second) = (search.ask_round(usize::MAX).unwrap(), search.ask_round(usize::MAX).unwrap());
/// assert_eq!((first.images(), second.images()), (&[0][..], &[1][..]));
/// assert!(first.ticket() != second.ticket() && search.ask_round(usize::MAX).is_none());
/// assert_eq!((first.size(), first.presence()), (0, ndarray::array![[false, false, false]])); // all are candidates
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    ticket: usize,
    size: usize,
    images: Vec<usize>,
    bases: Vec<Coalition>,
}

impl Round {
    pub(super) fn new(ticket: usize, size: usize, images: Vec<usize>, bases: Vec<Coalition>) -> Self {
        Self { ticket, size, images, bases }
    }

    /// What [`super::Search::tell_best`] knows it by.
    pub fn ticket(&self) -> usize {
        self.ticket
    }

    /// Number of present players, the same in every set.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The images, ascending.
    pub fn images(&self) -> &[usize] {
        &self.images
    }

    /// The set of each image.
    pub fn bases(&self) -> &[Coalition] {
        &self.bases
    }

    /// The same as presence (images, players), `true` = present.
    pub fn presence(&self) -> Array2<bool> {
        let players = self.bases.first().map_or(0, Coalition::players);
        let mut presence = Array2::from_elem((self.bases.len(), players), false);
        for (mut row, base) in presence.rows_mut().into_iter().zip(&self.bases) {
            base.members().for_each(|member| row[member] = true);
        }
        presence
    }
}
