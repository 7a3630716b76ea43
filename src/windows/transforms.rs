//! The transforms of one tile, compiled for several vector instruction sets.
//!
//! No fused multiply-add: every variant gives the same bits.

/// Outputs of a tile along each axis.
pub(super) const TILE: usize = 4;
/// Inputs of a tile along each axis.
pub(super) const READ: usize = 6;
/// Products of a tile for each pair of channels.
pub const PLACES: usize = READ * READ;
/// Channels of one step: a cache line of bfloat16.
const LANES: usize = 32;

type Lanes = [f32; LANES];

/// How a number is stored; it is computed with in f32.
///
/// ```
/// use interpix::windows::Number;
///
/// // A bfloat16 is the upper half of an f32: 7 bits after the point.
/// assert_eq!((1.0_f32.to_bits(), u16::narrow(1.0)), (0x3f80_0000, 0x3f80));
/// assert_eq!(0x3f81_u16.widen(), 1.0 + 1.0 / 128.0);
/// // Halves go to the even one: down, and up.
/// assert_eq!([1.0, 3.0].map(|half| u16::narrow(1.0 + half / 256.0)), [0x3f80, 0x3f82]);
/// ```
#[allow(private_bounds, reason = "the kernels are compiled for these numbers and no others")]
pub trait Number: Kernels {
    /// As f32.
    fn widen(self) -> f32;
    /// From f32, to nearest, ties to even.
    fn narrow(value: f32) -> Self;
}

/// The transforms of one tile.
pub(super) trait Kernels: Copy + Default + Send + Sync + 'static {
    /// B' d B of one tile into all places.
    fn transform_tile(tile: &Tile<'_, Self>, places: &mut [&mut [Self]; PLACES]);
    /// A' m A of the products at all places, added to what each of a tile's `outputs` starts from.
    fn transform_products(places: &[&[Self]; PLACES], outputs: &mut [Output<'_, Self>]);
}

/// The pixels of a tile with the base map's beneath them, where that is not zero; None where they are the same.
pub(super) type Tile<'a, T> = [[Option<(&'a [T], Option<&'a [T]>)>; READ]; READ];

/// One output pixel, what it starts from, and its row and column in the tile.
pub(super) struct Output<'a, T> {
    pub(super) place: (usize, usize),
    pub(super) start: &'a [f32],
    pub(super) pixel: &'a mut [T],
}

#[inline(always)]
fn load<T: Number>(row: &[T], at: usize) -> Lanes {
    let mut out = [0.0; LANES];
    if let Some(part) = row[at..].first_chunk::<LANES>() {
        for lane in 0..LANES {
            out[lane] = part[lane].widen();
        }
    } else {
        for (out, value) in out.iter_mut().zip(&row[at..]) {
            *out = value.widen();
        }
    }
    out
}

#[inline(always)]
fn store<T: Number>(values: &Lanes, row: &mut [T], at: usize) {
    if let Some(part) = row[at..].first_chunk_mut::<LANES>() {
        for lane in 0..LANES {
            part[lane] = T::narrow(values[lane]);
        }
    } else {
        for (out, value) in row[at..].iter_mut().zip(values) {
            *out = T::narrow(*value);
        }
    }
}

/// B' of six numbers.
#[inline(always)]
fn forward(x: &[Lanes; READ]) -> [Lanes; READ] {
    let mut out = [[0.0; LANES]; READ];
    for lane in 0..LANES {
        let [x0, x1, x2, x3, x4, x5] =
            [x[0][lane], x[1][lane], x[2][lane], x[3][lane], x[4][lane], x[5][lane]];
        let (near_even, near_odd) = (x4 - 4.0 * x2, x3 - 4.0 * x1);
        let (far_even, far_odd) = (x4 - x2, 2.0 * (x3 - x1));
        out[0][lane] = 4.0 * x0 - 5.0 * x2 + x4;
        out[1][lane] = near_even + near_odd;
        out[2][lane] = near_even - near_odd;
        out[3][lane] = far_even + far_odd;
        out[4][lane] = far_even - far_odd;
        out[5][lane] = 4.0 * x1 - 5.0 * x3 + x5;
    }
    out
}

/// A' of six numbers.
#[inline(always)]
fn back(x: &[Lanes; READ]) -> [Lanes; TILE] {
    let mut out = [[0.0; LANES]; TILE];
    for lane in 0..LANES {
        let [x0, x1, x2, x3, x4, x5] =
            [x[0][lane], x[1][lane], x[2][lane], x[3][lane], x[4][lane], x[5][lane]];
        let (near_even, near_odd, far_even, far_odd) = (x1 + x2, x1 - x2, x3 + x4, x3 - x4);
        out[0][lane] = x0 + near_even + far_even;
        out[1][lane] = near_odd + 2.0 * far_odd;
        out[2][lane] = near_even + 4.0 * far_even;
        out[3][lane] = near_odd + 8.0 * far_odd + x5;
    }
    out
}

#[inline(always)]
fn transform_tile<T: Number>(tile: &Tile<'_, T>, places: &mut [&mut [T]; PLACES]) {
    for at in (0..places[0].len()).step_by(LANES) {
        let mut lines = [[[0.0; LANES]; READ]; READ];
        for (line, pixels) in lines.iter_mut().zip(tile) {
            let mut inputs = [[0.0; LANES]; READ];
            for (input, &pixel) in inputs.iter_mut().zip(pixels) {
                if let Some((own, base)) = pixel {
                    *input = load(own, at);
                    if let Some(base) = base {
                        let base = load(base, at);
                        for lane in 0..LANES {
                            input[lane] -= base[lane];
                        }
                    }
                }
            }
            *line = forward(&inputs);
        }
        for column in 0..READ {
            let mut inputs = [[0.0; LANES]; READ];
            for (input, line) in inputs.iter_mut().zip(&lines) {
                *input = line[column];
            }
            let results = forward(&inputs);
            for (row, result) in results.iter().enumerate() {
                store(result, places[row * READ + column], at);
            }
        }
    }
}

#[inline(always)]
fn transform_products<T: Number>(places: &[&[T]; PLACES], outputs: &mut [Output<'_, T>]) {
    for at in (0..places[0].len()).step_by(LANES) {
        let mut lines = [[[0.0; LANES]; TILE]; READ];
        for (line, places) in lines.iter_mut().zip(places.chunks_exact(READ)) {
            let mut products = [[0.0; LANES]; READ];
            for (product, place) in products.iter_mut().zip(places) {
                *product = load(place, at);
            }
            *line = back(&products);
        }
        let mut results = [[[0.0; LANES]; TILE]; TILE];
        for (column, result) in results.iter_mut().enumerate() {
            let mut products = [[0.0; LANES]; READ];
            for (product, line) in products.iter_mut().zip(&lines) {
                *product = line[column];
            }
            *result = back(&products);
        }
        for output in outputs.iter_mut() {
            let mut sum = load(output.start, at);
            let result = &results[output.place.1][output.place.0];
            for lane in 0..LANES {
                sum[lane] += result[lane];
            }
            store(&sum, output.pixel, at);
        }
    }
}

macro_rules! number {
    ($number:ty, $forward:ident, $back:ident, $widen:expr, $narrow:expr) => {
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $forward(tile: &Tile<'_, $number>, places: &mut [&mut [$number]; PLACES]) {
            transform_tile(tile, places);
        }
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $back(places: &[&[$number]; PLACES], outputs: &mut [Output<'_, $number>]) {
            transform_products(places, outputs);
        }
        impl Number for $number {
            #[inline(always)]
            fn widen(self) -> f32 {
                $widen(self)
            }
            #[inline(always)]
            fn narrow(value: f32) -> Self {
                $narrow(value)
            }
        }
        impl Kernels for $number {
            fn transform_tile(tile: &Tile<'_, Self>, places: &mut [&mut [Self]; PLACES]) {
                $forward(tile, places);
            }
            fn transform_products(places: &[&[Self]; PLACES], outputs: &mut [Output<'_, Self>]) {
                $back(places, outputs);
            }
        }
    };
}

/// The upper half of the f32 that is nearest, ties to even.
#[inline(always)]
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Carrying into the exponent of a NaN would make it a number.
    (if value.is_nan() { 0x7fc0 } else { rounded }) as u16
}

number!(f32, forward_f32, back_f32, |value| value, |value| value);
// The bits of a bfloat16.
number!(u16, forward_bf16, back_bf16, |bits| f32::from_bits(u32::from(bits) << 16), round);
