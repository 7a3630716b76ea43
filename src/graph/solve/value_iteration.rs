//! The paper's Algorithm 1.

use super::progress::{Progress, power_of_two_scale};
use crate::error::Result;
use crate::graph::stencil::Sums;

/// V <- R + discount P V until the mean squared difference of two iterates is below the tolerance.
///
/// As printed, lines 17-19 would stop after one pass; the test is between consecutive iterates, as the text says.
/// Each difference is `discount P` times the one before, so it is multiplied in its place: iterates in single precision
/// stand still before the rule holds.
pub(super) fn solve(progress: &mut Progress<'_>) -> Result<()> {
    let (graph, pixels) = (progress.graph, progress.graph.stencil.layout.len());
    let count = (graph.height() * graph.width()) as f64;
    let maps = progress.rewards.len() / pixels;
    let (mut single, mut product, mut sums) = (vec![0.0; pixels], vec![0.0; pixels], Sums::default());
    for system in 0..progress.options.discounts.len() * maps {
        let (discount, scale) = (progress.options.discounts[system / maps], progress.scales[system % maps]);
        let here = system * pixels..(system + 1) * pixels;
        // The rule is absolute: it is about the map as it came.
        let tolerance = progress.options.tolerance * scale * scale;
        // From V = 0, the first pass gives R.
        let mut difference = progress.rewards[(system % maps) * pixels..][..pixels].to_vec();
        progress.solution.values[here.clone()].copy_from_slice(&difference);
        progress.solution.iterations += 1;
        let mut change = difference.iter().map(|d| d * d).sum::<f64>() / count;
        while change >= tolerance && change > 0.0 {
            if progress.out_of_iterations() {
                progress.certify()?;
                return Err(progress.not_converged(progress.worst()));
            }
            let scale = power_of_two_scale(&difference);
            single.iter_mut().zip(&difference).for_each(|(single, d)| *single = (d * scale) as f32);
            graph.step(&single, &mut product, &mut sums, progress.interrupted)?;
            change = 0.0;
            let values = progress.solution.values[here.clone()].iter_mut();
            for ((value, d), &step) in values.zip(&mut difference).zip(&product) {
                *d = discount * f64::from(step) / scale;
                *value += *d;
                change += *d * *d / count;
            }
            progress.solution.iterations += 1;
        }
    }
    progress.certify()
}
