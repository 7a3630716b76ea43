//! Functions of one number, made for vectors: no branch, no table, no call.

/// The Gaussian error linear unit, `x Phi(x)`, to 2e-7 of the larger of `|x|` and 1.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function, a rational function between -4 and 4: coefficients of Eigen's `generic_fast_erf_float`, to 3e-7.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let polynomial = |sum: f32, &coefficient: &f32| sum * square + coefficient;
    x * NUMERATOR.iter().fold(0.0, polynomial) / DENOMINATOR.iter().fold(0.0, polynomial)
}

/// The exponential of a number that is at most 0, to 2e-7 of itself; 0 below -87.
#[inline(always)]
pub(super) fn exp_of_negative(x: f32) -> f32 {
    const LEAST: f32 = -87.0;
    // ln 2 in two parts, so that `x - k ln 2` is exact enough.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Cephes' expf.
    const COEFFICIENTS: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // Adding and taking away 1.5 * 2^23 rounds to an integer, whose bits are the sum's lowest.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.max(LEAST);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = clamped - power * LN_2_HIGH - power * LN_2_LOW;
    let polynomial = COEFFICIENTS.iter().fold(0.0, |sum: f32, &coefficient| sum * rest + coefficient);
    let fraction = polynomial * rest * rest + rest + 1.0;
    let scale = f32::from_bits((shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < LEAST { 0.0 } else { fraction * scale }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what must be equal to the last bit is compared so")]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_library() {
        for step in 0..100_000 {
            let x = -1e-3 * step as f32;
            let exact = f64::from(x).exp();
            let bound = if x < -87.0 { 2e-38 } else { 3e-7 * exact };
            assert!((f64::from(exp_of_negative(x)) - exact).abs() <= bound, "{x}");
        }
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), 0.0);
    }

    /// By Simpson's rule over the density, which is exact to 1e-12 here.
    #[test]
    fn the_error_function_is_its_integral() {
        let density = |t: f64| (-t * t).exp() * std::f64::consts::FRAC_2_SQRT_PI;
        let (mut integral, step) = (0.0, 1e-3);
        for index in 0..6000 {
            let from = f64::from(index) * step;
            assert!((f64::from(erf(from as f32)) - integral).abs() < 4e-7, "{from}");
            assert_eq!(erf(-from as f32), -erf(from as f32));
            integral +=
                step / 6.0 * (density(from) + 4.0 * density(from + step / 2.0) + density(from + step));
        }
    }
}
