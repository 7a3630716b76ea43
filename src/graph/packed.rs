//! Single-precision weights in 24 bits: a product is as fast as memory, and a relative error of 4e-6 costs no iteration.
//!
//! Weights lie in 0..1, so the sign and the first bit of the exponent are 0; the last [`CUT`] bits are rounded away.

use memmap2::MmapMut;

use super::layout::{LANES, Lanes};
use crate::error::{Error, Result};
use crate::memory;

/// Bits of a weight's 23-bit mantissa that are not kept.
const CUT: u32 = 6;
/// Bytes of [`LANES`] weights.
const BYTES: usize = 3 * LANES;

/// All weights, in memory of huge pages where the system has them: with small ones the processor's prefetching stops every
/// 4 KiB, and a product takes almost twice as long.
#[derive(Debug)]
pub(super) struct Packed {
    memory: MmapMut,
}

/// The upper and lower bits of weights.
#[derive(Clone, Copy)]
pub(super) struct PackedRef<'a> {
    high: &'a [[u16; LANES]],
    low: &'a [[u8; LANES]],
}

/// As [`PackedRef`], to be written.
pub(super) struct PackedMut<'a> {
    high: &'a mut [[u16; LANES]],
    low: &'a mut [[u8; LANES]],
}

impl Packed {
    /// Room for `len` times [`LANES`] weights.
    ///
    /// # Errors
    /// [`Error::Memory`] if the system does not have it.
    pub(super) fn new(len: usize) -> Result<Self> {
        let (bytes, cure) = (Self::bytes(len), "lower it, and weights are computed when they are needed");
        memory::require(bytes, "memory_budget", "storing the weights", cure)?;
        let refused = |_| Error::Memory {
            name: "memory_budget",
            work: "storing the weights",
            bytes,
            available: None,
            cure,
        };
        let memory = MmapMut::map_anon(bytes).map_err(refused)?;
        #[cfg(target_os = "linux")]
        // A kernel without huge pages refuses, and small ones will do.
        let _ = memory.advise(memmap2::Advice::HugePage);
        Ok(Self { memory })
    }

    /// Bytes that `len` times [`LANES`] weights take.
    pub(super) fn bytes(len: usize) -> usize {
        len.saturating_mul(BYTES)
    }

    pub(super) fn get(&self) -> PackedRef<'_> {
        let (high, low) = self.memory.split_at(self.memory.len() / BYTES * 2 * LANES);
        PackedRef { high: bytemuck::cast_slice(high), low: bytemuck::cast_slice(low) }
    }

    pub(super) fn get_mut(&mut self) -> PackedMut<'_> {
        let middle = self.memory.len() / BYTES * 2 * LANES;
        let (high, low) = self.memory.split_at_mut(middle);
        PackedMut { high: bytemuck::cast_slice_mut(high), low: bytemuck::cast_slice_mut(low) }
    }
}

impl<'a> PackedRef<'a> {
    pub(super) fn slice(self, start: usize, len: usize) -> Self {
        Self { high: &self.high[start..][..len], low: &self.low[start..][..len] }
    }

    pub(super) fn split_at(self, middle: usize) -> (Self, Self) {
        let (high, rest) = self.high.split_at(middle);
        let (low, rest_low) = self.low.split_at(middle);
        (Self { high, low }, Self { high: rest, low: rest_low })
    }

    /// Unpacks all.
    #[inline(always)]
    pub(super) fn unpack(self, out: &mut [Lanes<f32>]) {
        for ((out, high), low) in out.iter_mut().zip(self.high).zip(self.low) {
            *out = unpack(high, low);
        }
    }

    #[inline(always)]
    pub(super) fn iter(self) -> impl Iterator<Item = Lanes<f32>> + 'a {
        self.high.iter().zip(self.low).map(|(high, low)| unpack(high, low))
    }
}

impl PackedMut<'_> {
    pub(super) fn split_at(self, middle: usize) -> (Self, Self) {
        let (high, rest) = self.high.split_at_mut(middle);
        let (low, rest_low) = self.low.split_at_mut(middle);
        (Self { high, low }, Self { high: rest, low: rest_low })
    }

    /// Packs weights that have been [rounded](round), from a place on.
    #[inline(always)]
    pub(super) fn pack(&mut self, start: usize, weights: &[Lanes<f32>]) {
        let (high, low) = (&mut self.high[start..], &mut self.low[start..]);
        for ((weights, high), low) in weights.iter().zip(high).zip(low) {
            (*high, *low) = pack(weights);
        }
    }
}

/// The nearest weight that can be packed.
#[inline(always)]
pub(super) fn round(weight: f32) -> f32 {
    f32::from_bits((weight.to_bits() + (1 << (CUT - 1))) & !((1 << CUT) - 1))
}

#[inline(always)]
fn pack(weights: &Lanes<f32>) -> ([u16; LANES], [u8; LANES]) {
    // Not `map`: where the compiler does not inline it, it is not compiled for the vector instruction set.
    let (mut high, mut low) = ([0; LANES], [0; LANES]);
    for lane in 0..LANES {
        let bits = weights.0[lane].to_bits();
        high[lane] = (bits >> (CUT + 8)) as u16;
        low[lane] = (bits >> CUT) as u8;
    }
    (high, low)
}

#[inline(always)]
fn unpack(high: &[u16; LANES], low: &[u8; LANES]) -> Lanes<f32> {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = f32::from_bits((u32::from(high[lane]) << (CUT + 8)) | (u32::from(low[lane]) << CUT));
    }
    Lanes(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_rounded_weights() {
        let weights = [0.0, 1.0, 0.367_879_44, 1.2e-38, 3e-20, 0.1, 0.25, 7e-5];
        let weights =
            Lanes(std::array::from_fn(|lane| round(weights[lane % 8] * (1.0 - lane as f32 / 64.0))));
        let (high, low) = pack(&weights);
        assert_eq!(unpack(&high, &low).0.map(f32::to_bits), weights.0.map(f32::to_bits));
        assert!((round(0.123_456_79) / 0.123_456_79 - 1.0).abs() < 4e-6);
    }
}
