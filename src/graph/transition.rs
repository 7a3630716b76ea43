//! The transition matrix itself, for those who want it; the solver never builds it.

use sprs::CsMat;

use super::pixel_graph::PixelGraph;
use crate::error::Result;
use crate::memory;
use crate::parallel::{Interrupted, stop_if};

/// A matrix in compressed sparse rows, whose indices are of the type `I`.
pub(crate) struct Rows<I> {
    pub(crate) starts: Vec<I>,
    pub(crate) columns: Vec<I>,
    pub(crate) probabilities: Vec<f64>,
}

impl PixelGraph {
    /// P in compressed sparse rows: entry (I, J) is the probability of stepping from pixel I to J, pixels numbered row
    /// by row. Rows sum to 1.
    ///
    /// It takes 16 bytes for each of up to `(2 radius + 1)^2 - 1` entries a row: 520 MB for 299 x 299 at radius 9.
    ///
    /// ```
    /// use interpix::graph::{GraphOptions, PixelGraph};
    /// let gray = ndarray::Array3::zeros((3, 1, 3)); // a, b, c in a row: radius 1
    /// let matrix = PixelGraph::new(gray.view(), &GraphOptions::default(), &|| false)?.transition_matrix(&|| false)?;
    /// assert_eq!(matrix.get(0, 1), Some(&1.0));
    /// assert_eq!((matrix.get(1, 0), matrix.get(1, 2)), (Some(&0.5), Some(&0.5)));
    /// # Ok::<(), interpix::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory); [`Error::Interrupted`](crate::Error::Interrupted) when `interrupted` says
    /// so.
    pub fn transition_matrix(&self, interrupted: &Interrupted<'_>) -> Result<CsMat<f64>> {
        let Rows { starts, columns, probabilities } = self.transition_rows(|index| index, interrupted)?;
        let pixels = self.height() * self.width();
        Ok(CsMat::new((pixels, pixels), starts, columns, probabilities))
    }

    /// The rows of P, indices as `index` makes them.
    pub(crate) fn transition_rows<I: Send + 'static>(
        &self,
        index: impl Fn(usize) -> I,
        interrupted: &Interrupted<'_>,
    ) -> Result<Rows<I>> {
        let (pixels, entries) = (self.height() * self.width(), self.transitions());
        let bytes = entries * (size_of::<I>() + size_of::<f64>()) + (pixels + 1) * size_of::<I>();
        memory::require(
            bytes,
            "radius",
            "the transition matrix",
            "choose a smaller radius, or resize the image",
        )?;
        let mut starts = Vec::with_capacity(pixels + 1);
        let (mut columns, mut probabilities) = (Vec::with_capacity(entries), Vec::with_capacity(entries));
        starts.push(index(0));
        for pixel in 0..pixels {
            if let Err(error) = stop_if(interrupted) {
                // Giving gigabytes back takes longer than a person waits after Ctrl-C.
                std::thread::spawn(move || drop((columns, probabilities)));
                return Err(error);
            }
            self.stencil.for_each_probability(pixel, |neighbor, probability| {
                columns.push(index(neighbor));
                probabilities.push(probability);
            });
            starts.push(index(columns.len()));
        }
        Ok(Rows { starts, columns, probabilities })
    }

    /// Entries of P: pairs of different pixels that are neighbors.
    pub(crate) fn transitions(&self) -> usize {
        let pairs = |len: usize, reach: usize| len + 2 * (1..=reach).map(|step| len - step).sum::<usize>();
        let reach = self.stencil.layout.neighborhood;
        pairs(self.height(), reach.down) * pairs(self.width(), reach.across) - self.height() * self.width()
    }
}
