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

/// A step from a pixel to a neighbor that comes later in reading order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offset {
    /// Rows down, 0..=radius.
    pub(super) rows: usize,
    /// First column of the pixel's row that has this neighbor.
    pub(super) from: usize,
    /// Column of that first pixel's neighbor.
    pub(super) to: usize,
    /// Number of pixels in a row that have this neighbor.
    pub(super) len: usize,
    /// Distance in pixels.
    pub(super) distance: f64,
}

/// Half of the neighborhood: the other half are the same edges, walked the other way.
pub(super) fn half_neighborhood(height: usize, width: usize, radius: usize) -> Vec<Offset> {
    let across = radius.min(width - 1) as isize;
    let mut offsets = Vec::new();
    for rows in 0..=radius.min(height - 1) {
        let first = if rows == 0 { 1 } else { -across };
        offsets.extend((first..=across).map(|columns| Offset {
            rows,
            from: columns.min(0).unsigned_abs(),
            to: columns.max(0).unsigned_abs(),
            len: width - columns.unsigned_abs(),
            distance: (rows as f64).hypot(columns as f64),
        }));
    }
    offsets
}
