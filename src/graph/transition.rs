//! The transition matrix itself, for those who want it; the solver never builds it.

use sprs::CsMat;

use super::pixel_graph::PixelGraph;
use super::vector_math::Real;

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
            self.for_each_probability(pixel, |neighbor, probability| {
                columns.push(neighbor);
                probabilities.push(probability);
            });
            starts.push(columns.len());
        }
        CsMat::new((pixels, pixels), starts, columns, probabilities)
    }

    /// The neighbors of a pixel in ascending order, with the probability of stepping to each.
    ///
    /// The softmax is taken relative to the nearest neighbor, so it exists however unlike the neighbors are.
    pub(super) fn for_each_probability(&self, pixel: usize, mut visit: impl FnMut(usize, f64)) {
        let (height, width, radius) = (self.height(), self.width(), self.radius());
        let (row, column) = (pixel / width, pixel % width);
        let rows = row.saturating_sub(radius)..=row.saturating_add(radius).min(height - 1);
        let columns = column.saturating_sub(radius)..=column.saturating_add(radius).min(width - 1);
        let here = self.stencil.color(pixel);
        let mut distances = Vec::new();
        for r in rows {
            for c in columns.clone().filter(|&c| (r, c) != (row, column)) {
                let neighbor = r * width + c;
                let color: f64 =
                    here.iter().zip(self.stencil.color(neighbor)).map(|(x, y)| (x - y).powi(2)).sum();
                let spatial = (r.abs_diff(row) as f64).hypot(c.abs_diff(column) as f64);
                distances.push((neighbor, spatial + color.sqrt()));
            }
        }
        let nearest = distances.iter().map(|&(_, distance)| distance).fold(f64::INFINITY, f64::min);
        let weight = |distance: f64| (distance - nearest).exp_neg();
        let sum: f64 = distances.iter().map(|&(_, distance)| weight(distance)).sum();
        for (neighbor, distance) in distances {
            visit(neighbor, weight(distance) / sum);
        }
    }
}
