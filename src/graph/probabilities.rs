//! Single rows of P, for pixels whose weights single precision would lose and for those who want the matrix.

use super::stencil::Stencil;
use super::vector_math::Real;

impl Stencil {
    /// Visits the neighbors of a pixel in ascending order, with the probability of stepping to each.
    ///
    /// The softmax is taken relative to the nearest neighbor, so it exists however unlike the neighbors are.
    pub(super) fn for_each_probability(&self, pixel: usize, mut visit: impl FnMut(usize, f64)) {
        let (height, width, reach) = (self.layout.height, self.layout.width, self.layout.neighborhood);
        let (row, column) = (pixel / width, pixel % width);
        let rows = row.saturating_sub(reach.down)..=(row + reach.down).min(height - 1);
        let columns = column.saturating_sub(reach.across)..=(column + reach.across).min(width - 1);
        let here = self.color(pixel);
        let mut distances = Vec::new();
        for r in rows {
            for c in columns.clone().filter(|&c| (r, c) != (row, column)) {
                let neighbor = r * width + c;
                let color: f64 = here.iter().zip(self.color(neighbor)).map(|(x, y)| (x - y).powi(2)).sum();
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
