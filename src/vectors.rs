//! The vector instructions that run here, of those that the kernels are compiled for.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// The best that this build has and this processor knows: `"AVX-512"`, `"AVX2"`, `"NEON"` or `"none"`.
///
/// It is chosen as the kernels' own variants are, and says what they take.
///
/// ```
/// assert!(["AVX-512", "AVX2", "NEON", "none"].contains(&interpix::vectors::instructions()));
/// ```
#[allow(clippy::ifs_same_cond, reason = "the conditions are known, and may be equal, in each variant")]
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
pub fn instructions() -> &'static str {
    if target_cfg_f!(target_feature = "avx512f") {
        "AVX-512"
    } else if target_cfg_f!(target_feature = "avx2") {
        "AVX2"
    } else if target_cfg_f!(target_feature = "neon") {
        "NEON"
    } else {
        "none"
    }
}
