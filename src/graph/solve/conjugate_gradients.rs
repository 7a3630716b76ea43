//! Conjugate gradients on `(1 - discount P) V = R` in the inner product `<x, y> = sum of D x y`, in which P is symmetric:
//! the same iterates as on `D - discount S` preconditioned by D.

use super::progress::{Progress, max_abs};
use crate::error::Result;
use crate::graph::stencil::Sums;

/// Adds the solution for the defect to the values, one system after the other.
pub(super) fn correct(progress: &mut Progress<'_>) -> Result<()> {
    let maps = progress.rewards.len() / progress.graph.stencil.layout.len();
    for system in 0..progress.options.discounts.len() * maps {
        if progress.solution.error_bounds[system] > progress.options.tolerance {
            correct_system(progress, system, progress.options.discounts[system / maps])?;
        }
    }
    Ok(())
}

fn correct_system(progress: &mut Progress<'_>, system: usize, discount: f64) -> Result<()> {
    let (graph, pixels) = (progress.graph, progress.graph.stencil.layout.len());
    let here = system * pixels..(system + 1) * pixels;
    let largest_value = max_abs(&progress.solution.values[here.clone()]);
    let mut residual = progress.defect[here.clone()].to_vec();
    let mut direction = residual.clone();
    let mut correction = vec![0.0; pixels];
    let (mut single, mut product, mut sums) = (vec![0.0; pixels], vec![0.0; pixels], Sums::default());
    let mut energy = inner(graph.inverse_degree(), &residual, &residual);
    while max_abs(&residual) > progress.goal(discount, largest_value, max_abs(&correction))
        && !progress.out_of_iterations()
    {
        let scale = 1.0 / max_abs(&direction);
        single.iter_mut().zip(&direction).for_each(|(single, value)| *single = (value * scale) as f32);
        graph.step(&single, &mut product, &mut sums, progress.interrupted)?;
        progress.solution.iterations += 1;
        let applied: Vec<f64> =
            direction.iter().zip(&product).map(|(d, &p)| d - discount * f64::from(p) / scale).collect();
        let length = energy / inner(graph.inverse_degree(), &direction, &applied);
        correction.iter_mut().zip(&direction).for_each(|(value, d)| *value += length * d);
        residual.iter_mut().zip(&applied).for_each(|(value, a)| *value -= length * a);
        let previous = std::mem::replace(&mut energy, inner(graph.inverse_degree(), &residual, &residual));
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + energy / previous * *d);
    }
    progress.solution.values[here].iter_mut().zip(&correction).for_each(|(value, c)| *value += c);
    Ok(())
}

/// The inner product weighted by the row sums of S. Isolated pixels weigh next to nothing in it.
fn inner(inverse_degree: &[f32], x: &[f64], y: &[f64]) -> f64 {
    let terms = inverse_degree.iter().zip(x.iter().zip(y));
    terms
        .map(|(&inverse, (x, y))| if inverse > 0.0 { x * y / f64::from(inverse) } else { x * y * 1e-30 })
        .sum()
}
