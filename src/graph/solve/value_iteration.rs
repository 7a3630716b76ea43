//! The paper's Algorithm 1.

use super::progress::Progress;
use crate::error::Result;
use crate::graph::stencil::Sums;

/// V <- R + discount P V until the mean squared difference of two iterates is below the tolerance.
///
/// As printed, lines 17-19 would stop after one pass; the test is between consecutive iterates, as the text says.
pub(super) fn solve(progress: &mut Progress<'_>) -> Result<()> {
    let (graph, pixels) = (progress.graph, progress.graph.stencil.layout.len());
    let count = graph.height() * graph.width();
    let maps = progress.rewards.len() / pixels;
    let (mut single, mut product, mut sums) = (vec![0.0; pixels], vec![0.0; pixels], Sums::default());
    for system in 0..progress.options.discounts.len() * maps {
        let discount = progress.options.discounts[system / maps];
        let here = system * pixels..(system + 1) * pixels;
        let rewards = &progress.rewards[(system % maps) * pixels..][..pixels];
        let mut change = f64::INFINITY;
        while change >= progress.options.tolerance {
            if progress.solution.iterations >= progress.options.max_iterations {
                progress.certify()?;
                return Err(progress.not_converged(progress.worst()));
            }
            let values = &mut progress.solution.values[here.clone()];
            single.iter_mut().zip(&*values).for_each(|(single, &value)| *single = value as f32);
            graph.step(&single, &mut product, &mut sums, progress.interrupted)?;
            change = 0.0;
            for ((value, &reward), &step) in values.iter_mut().zip(rewards).zip(&product) {
                let next = reward + discount * f64::from(step);
                change += (next - *value).powi(2) / count as f64;
                *value = next;
            }
            progress.solution.iterations += 1;
        }
    }
    progress.certify()
}
