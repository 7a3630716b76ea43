//! The transition matrix itself, for those who want it; the solver never builds it.

use sprs::CsMat;

use super::pixel_graph::PixelGraph;

impl PixelGraph {
    /// P in compressed sparse rows: entry (I, J) is the probability of stepping from pixel I to J, pixels numbered row
    /// by row. Rows sum to 1.
    ///
    /// It takes 16 bytes for each of up to `(2 radius + 1)^2 - 1` entries a row: 520 MB for 299 x 299 at radius 9.
    ///
    /// ```
    /// use interpix::graph::{GraphOptions, PixelGraph};
    /// let gray = ndarray::Array3::zeros((3, 1, 3)); // a, b, c in a row: radius 1
    /// let matrix = PixelGraph::new(gray.view(), &GraphOptions::default(), &|| false)?.transition_matrix();
    /// assert_eq!(matrix.get(0, 1), Some(&1.0));
    /// assert_eq!((matrix.get(1, 0), matrix.get(1, 2)), (Some(&0.5), Some(&0.5)));
    /// # Ok::<(), interpix::Error>(())
    /// ```
    pub fn transition_matrix(&self) -> CsMat<f64> {
        let pixels = self.height() * self.width();
        let mut starts = Vec::with_capacity(pixels + 1);
        let (mut columns, mut probabilities) = (Vec::new(), Vec::new());
        starts.push(0);
        for pixel in 0..pixels {
            self.stencil.for_each_probability(pixel, |neighbor, probability| {
                columns.push(neighbor);
                probabilities.push(probability);
            });
            starts.push(columns.len());
        }
        CsMat::new((pixels, pixels), starts, columns, probabilities)
    }
}
