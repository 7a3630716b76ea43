//! The paper's Algorithm 1.

use super::progress::{Progress, max_abs};
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
        let (discount, scale) = (progress.options.discounts[system / maps], progress.scales[system % maps]);
        let here = system * pixels..(system + 1) * pixels;
        let rewards = &progress.rewards[(system % maps) * pixels..][..pixels];
        // The rule is absolute: it is about the map as it came.
        let tolerance = progress.options.tolerance * scale * scale;
        let mut change = f64::INFINITY;
        while change >= tolerance {
            let values = &mut progress.solution.values[here.clone()];
            single.iter_mut().zip(&*values).for_each(|(single, &value)| *single = value as f32);
            graph.step(&single, &mut product, &mut sums, progress.interrupted)?;
            let before = std::mem::take(&mut change);
            for ((value, &reward), &step) in values.iter_mut().zip(rewards).zip(&product) {
                let next = reward + discount * f64::from(step);
                change += (next - *value).powi(2) / count as f64;
                *value = next;
            }
            progress.solution.iterations += 1;
            // What single precision rounds is all that changes, again and again.
            let stands = change >= before && change < (f64::from(f32::EPSILON) * max_abs(values)).powi(2);
            if change >= tolerance && (stands || progress.out_of_iterations()) {
                progress.certify()?;
                return Err(progress.not_converged(progress.worst()));
            }
        }
    }
    progress.certify()
}
