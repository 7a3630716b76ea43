//! Which pixels are neighbors.

/// The paper's radius for an image of this size: `max(height, width) / 32`, at least 1.
///
/// ```
/// assert_eq!(interpix::graph::default_radius(299, 224), 9);
/// assert_eq!(interpix::graph::default_radius(20, 10), 1);
/// ```
pub fn default_radius(height: usize, width: usize) -> usize {
    (height.max(width) / 32).max(1)
}

/// Half of the neighborhood: the pixels that come later in reading order. The other half are the same edges, walked the
/// other way.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfNeighborhood {
    /// Rows down that an edge reaches.
    pub(super) down: usize,
    /// Columns to either side that an edge reaches.
    pub(super) across: usize,
}

impl HalfNeighborhood {
    pub(super) fn new(height: usize, width: usize, radius: usize) -> Self {
        Self { down: radius.min(height - 1), across: radius.min(width - 1) }
    }

    /// Column offsets of the edges that go `rows` down, ascending.
    pub(super) fn columns(&self, rows: usize) -> std::ops::RangeInclusive<isize> {
        let across = self.across as isize;
        if rows == 0 { 1..=across } else { -across..=across }
    }

    /// Number of edges of a pixel.
    pub(super) fn edges(&self) -> usize {
        self.across + self.down * (2 * self.across + 1)
    }
}
