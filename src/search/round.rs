//! A whole step of some images, whose candidates the evaluator lists itself.

use ndarray::Array2;

use super::coalition::Coalition;

/// One step of some images whose sets have equally many players, of as many in all: which one to flip next?
///
/// Insertion: every absent player is a candidate; deletion: every present one.
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
