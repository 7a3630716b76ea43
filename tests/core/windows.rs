//! Windows against pixels one by one and the convolution's definition, in double precision.

use interpix::Error;
use interpix::parallel::set_threads;
use interpix::windows::{Number, PLACES, WindowMaps, gather, transform_products, transform_tiles};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView2, array, s};
use proptest::prelude::*;

const FILL: f32 = -7.0;

/// A base map, and candidates with a window each.
#[derive(Debug, Clone)]
struct Case {
    size: (usize, usize),
    channels: usize,
    /// Top, left, height and width of each candidate's window, and top and left of what is read.
    places: Vec<([usize; 4], [i64; 2])>,
    /// Height and width of what is computed.
    area: (usize, usize),
}

/// A number for each pixel that looks random; multiples of 1/8 up to 8, which are exact in bfloat16.
fn number(seed: usize, index: (usize, usize)) -> f32 {
    let mixed = (seed * 7919 + index.0 * 104_729 + index.1 * 1_299_709).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed >> 40) % 128) as f32 / 8.0 - 8.0
}

impl Case {
    fn base(&self) -> Array2<f32> {
        Array2::from_shape_fn((self.size.0 * self.size.1, self.channels), |at| number(0, at))
    }

    /// All windows after two rows of something else, and where they are.
    fn table(&self) -> (Array2<f32>, Array2<i64>) {
        let mut rows = 2;
        let mut windows = Array2::zeros((5, self.places.len()));
        for (mut column, &([top, left, h, w], _)) in windows.columns_mut().into_iter().zip(&self.places) {
            column.assign(&array![top, left, h, w, rows].mapv(|value| value as i64));
            rows += h * w;
        }
        (Array2::from_shape_fn((rows, self.channels), |at| number(1, at)), windows)
    }

    fn origins(&self) -> Array2<i64> {
        Array2::from_shape_fn((2, self.places.len()), |(axis, candidate)| self.places[candidate].1[axis])
    }

    /// A candidate's pixel, by the definition; None outside of the map.
    fn pixel(&self, candidate: usize, (row, column): (i64, i64), channel: usize) -> Option<f32> {
        let (row, column) = (usize::try_from(row).ok()?, usize::try_from(column).ok()?);
        if row >= self.size.0 || column >= self.size.1 {
            return None;
        }
        let [top, left, h, w] = self.places[candidate].0;
        if (top..top + h).contains(&row) && (left..left + w).contains(&column) {
            let (table, windows) = self.table();
            let place = windows[(4, candidate)] as usize + (row - top) * w + column - left;
            return Some(table[(place, channel)]);
        }
        Some(self.base()[(row * self.size.1 + column, channel)])
    }
}

/// Candidates on maps that are never square; `more` is what an area reads beyond what it computes.
fn cases(channels: impl Strategy<Value = usize>, more: usize) -> impl Strategy<Value = Case> {
    let sizes = (2_usize..12, 2_usize..12, channels).prop_filter("not square", |(h, w, _)| h != w);
    let area = sizes.prop_flat_map(|(h, w, channels)| (Just(((h, w), channels)), 1..=h, 1..=w));
    area.prop_flat_map(move |((size, channels), h, w)| {
        let window = (0..size.0, 0..size.1)
            .prop_flat_map(move |(top, left)| (Just((top, left)), 1..=size.0 - top, 1..=size.1 - left));
        let start = (0..=size.0 - h, 0..=size.1 - w);
        prop::collection::vec((window, start), 1..4).prop_map(move |places| Case {
            size,
            channels,
            places: places
                .into_iter()
                .map(|(((top, left), height, width), (row, column))| {
                    ([top, left, height, width], [row as i64 - more as i64, column as i64 - more as i64])
                })
                .collect(),
            area: (h, w),
        })
    })
}

fn gathered(case: &Case) -> Array4<f32> {
    let ((table, windows), base) = (case.table(), case.base());
    let maps = WindowMaps::new(table.view(), Some(base.view()), case.size, windows.view()).unwrap();
    let fill = Array1::from_elem(case.channels, FILL);
    let mut out = Array4::zeros((case.places.len(), case.area.0 + 4, case.area.1 + 4, case.channels));
    gather(&maps, fill.view(), case.origins().view(), out.view_mut()).unwrap();
    out
}

/// Outputs of the convolution of each candidate with `kernel` (O, C * 9) by Winograd, in numbers of type `T`.
fn by_winograd<T: Number>(case: &Case, kernel: &Array2<f32>, start: &Array3<f32>) -> Array4<f32> {
    let narrow = |values: Array2<f32>| values.mapv(T::narrow);
    let ((table, windows), base) = (case.table(), narrow(case.base()));
    let table = narrow(table);
    let maps = WindowMaps::new(table.view(), Some(base.view()), case.size, windows.view()).unwrap();
    let tiles = (case.area.0.div_ceil(4), case.area.1.div_ceil(4));
    let count = case.places.len();
    let mut inputs = Array3::from_elem((PLACES, count * tiles.0 * tiles.1, case.channels), T::default());
    transform_tiles(&maps, case.origins().view(), tiles, inputs.view_mut()).unwrap();
    let products = multiply(&inputs.mapv(T::widen), kernel).mapv(|product| T::narrow(product as f32));
    let mut out = Array4::from_elem((count, case.area.0, case.area.1, kernel.nrows()), T::default());
    // The convolution has a padding of one pixel.
    transform_products(products.view(), start.view(), (case.origins() + 1).view(), out.view_mut()).unwrap();
    out.mapv(T::widen)
}

/// The products (36, tiles, O) with the transformed kernels G g G'.
fn multiply(inputs: &Array3<f32>, kernel: &Array2<f32>) -> Array3<f64> {
    let (s, t) = (1.0 / 6.0, 1.0 / 24.0);
    let g = array![
        [0.25, 0.0, 0.0],
        [-s, -s, -s],
        [-s, s, -s],
        [t, 2.0 * t, 4.0 * t],
        [t, -2.0 * t, 4.0 * t],
        [0.0, 0.0, 1.0]
    ];
    let (_, tiles, channels) = inputs.dim();
    let kernels: Vec<Array2<f64>> = kernel
        .rows()
        .into_iter()
        .flat_map(|row| (0..channels).map(move |c| row.slice_move(s![c * 9..(c + 1) * 9])))
        .map(|nine| {
            let nine = nine.to_shape((3, 3)).unwrap().mapv(f64::from);
            g.dot(&nine).dot(&g.t())
        })
        .collect();
    Array3::from_shape_fn((PLACES, tiles, kernel.nrows()), |(place, tile, output)| {
        (0..channels)
            .map(|c| {
                f64::from(inputs[(place, tile, c)]) * kernels[output * channels + c][(place / 6, place % 6)]
            })
            .sum()
    })
}

/// The largest difference of `got` from the definition, relative to the sum of the largest products that there can be.
///
/// `start` is the base map's outputs, from which the candidates differ by what the convolution makes of their difference.
fn error(case: &Case, kernel: ArrayView2<'_, f32>, start: &Array3<f32>, got: &Array4<f32>) -> f64 {
    let nobody = Case { places: vec![([0, 0, 0, 0], [0, 0])], ..case.clone() };
    let mut largest = 0.0_f64;
    for ((candidate, row, column, output), &got) in got.indexed_iter() {
        let [top, left] = case.places[candidate].1;
        let mut sum = f64::from(start[((top + 1) as usize + row, (left + 1) as usize + column, output)]);
        for (index, &weight) in kernel.row(output).iter().enumerate() {
            let (channel, dy, dx) = (index / 9, index % 9 / 3, index % 3);
            let place = (top + (row + dy) as i64, left + (column + dx) as i64);
            let own = case.pixel(candidate, place, channel).unwrap_or(0.0);
            let base = nobody.pixel(0, place, channel).unwrap_or(0.0);
            sum += f64::from(weight) * f64::from(own - base);
        }
        largest = largest.max((f64::from(got) - sum).abs());
    }
    largest / (kernel.ncols() as f64 * 8.0 * 16.0)
}

fn kernel(outputs: usize, channels: usize) -> Array2<f32> {
    Array2::from_shape_fn((outputs, 9 * channels), |at| number(2, at))
}

fn start(case: &Case, outputs: usize) -> Array3<f32> {
    Array3::from_shape_fn((case.size.0, case.size.1, outputs), |(y, x, o)| number(3, (y * 31 + x, o)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gathers_what_its_definition_says(case in cases(1_usize..4, 3)) {
        for ((candidate, row, column, channel), &got) in gathered(&case).indexed_iter() {
            let [top, left] = case.places[candidate].1;
            let place = (top + row as i64, left + column as i64);
            prop_assert_eq!(got, case.pixel(candidate, place, channel).unwrap_or(FILL));
        }
    }

    #[test]
    fn winograd_is_the_convolution(case in cases(prop_oneof![1_usize..4, 32_usize..35], 1)) {
        let (kernel, start) = (kernel(3, case.channels), start(&case, 3));
        let single = error(&case, kernel.view(), &start, &by_winograd::<f32>(&case, &kernel, &start));
        let half = error(&case, kernel.view(), &start, &by_winograd::<u16>(&case, &kernel, &start));
        prop_assert!(single <= 3e-7, "float32: {single}");
        prop_assert!(half <= 0.01, "bfloat16: {half}");
    }
}

#[test]
fn without_a_base_map_pixels_are_taken_whole() {
    let table = Array2::from_shape_fn((2 * 15, 2), |at| number(4, at));
    let windows = array![[0, 0], [0, 0], [3, 3], [5, 5], [0, 15]];
    let (base, origins) = (Array2::zeros((15, 2)), array![[-1, -1], [-1, -1]]);
    let [with, without] = [Some(base.view()), None].map(|base| {
        let maps = WindowMaps::new(table.view(), base, (3, 5), windows.view()).unwrap();
        let mut out = Array3::zeros((PLACES, 4, 2));
        transform_tiles(&maps, origins.view(), (1, 2), out.view_mut()).unwrap();
        out
    });
    assert_eq!(with, without);
    assert!(with.iter().any(|&value| value != 0.0));
}

#[test]
fn threads_change_nothing() {
    let places = (0..9).map(|i| ([i % 3, i % 4, 5, 6], [i as i64 % 3 - 1, i as i64 % 2 - 1])).collect();
    let case = Case { size: (9, 14), channels: 40, places, area: (6, 13) };
    let (kernel, start) = (kernel(5, 40), start(&case, 5));
    let [one, three] = [1, 3].map(|threads| {
        set_threads(threads);
        (
            gathered(&case),
            by_winograd::<f32>(&case, &kernel, &start),
            by_winograd::<u16>(&case, &kernel, &start),
        )
    });
    set_threads(0);
    assert_eq!(one, three);
}

#[test]
fn bfloat16_is_rounded_to_the_nearest_even() {
    let unit = 1.0 / 128.0;
    for (value, expected) in [
        (1.0 + 0.4 * unit, 1.0),
        (1.0 + 0.5 * unit, 1.0),
        (1.0 + 0.6 * unit, 1.0 + unit),
        (1.0 + 1.5 * unit, 1.0 + 2.0 * unit),
        (-1.0 - 2.5 * unit, -1.0 - 2.0 * unit),
        (f32::MAX, f32::INFINITY),
        (f32::NEG_INFINITY, f32::NEG_INFINITY),
    ] {
        assert_eq!(u16::narrow(value).widen(), expected, "{value}");
    }
    assert!(u16::narrow(f32::from_bits(0x7fff_ffff)).widen().is_nan());
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    let (table, base) = (Array2::<f32>::zeros((4, 2)), Array2::zeros((12, 2)));
    let new = |windows: Array2<i64>, base: &Array2<f32>| {
        WindowMaps::new(table.view(), Some(base.view()), (3, 4), windows.view()).map(|_| ())
    };
    assert!(new(array![[1], [2], [2], [2], [0]], &base).is_ok());
    for windows in [
        array![[2], [2], [2], [2], [0]],
        array![[1], [3], [2], [2], [0]],
        array![[1], [2], [2], [2], [1]],
        array![[-1], [2], [2], [2], [0]],
        array![[1], [2], [2], [2]],
    ] {
        assert!(matches!(new(windows, &base), Err(Error::Argument { name: "windows", .. })));
    }
    let short = Array2::zeros((11, 2));
    assert!(matches!(
        new(array![[1], [2], [2], [2], [0]], &short),
        Err(Error::Argument { name: "base", .. })
    ));

    let windows = array![[1], [2], [2], [2], [0]];
    let maps = WindowMaps::new(table.view(), Some(base.view()), (3, 4), windows.view()).unwrap();
    let (one, two) = (array![[0], [0]], array![[0, 0], [0, 0]]);
    let fill = array![0.0, 0.0];
    let mut area = Array4::zeros((1, 2, 3, 2));
    assert!(gather(&maps, fill.view(), two.view(), area.view_mut()).is_err());
    assert!(matches!(
        gather(&maps, array![0.0].view(), one.view(), area.view_mut()),
        Err(Error::Argument { name: "fill", .. })
    ));
    let mut wide = Array4::zeros((1, 2, 6, 2));
    let gaps = gather(&maps, fill.view(), one.view(), wide.slice_mut(s![.., .., ..3, ..]));
    assert!(matches!(gaps, Err(Error::Argument { name: "out", .. })));
    assert!(gather(&maps, fill.view(), one.view(), Array4::zeros((1, 2, 3, 1)).view_mut()).is_err());
    let mut tiles = Array3::zeros((PLACES, 2, 2));
    assert!(transform_tiles(&maps, one.view(), (1, 1), tiles.view_mut()).is_err());
    let products = Array3::<f32>::zeros((PLACES, 1, 2));
    for (start, ok) in [((3, 4, 2), true), ((1, 4, 2), false), ((3, 2, 2), false), ((3, 4, 1), false)] {
        let done =
            transform_products(products.view(), Array3::zeros(start).view(), one.view(), area.view_mut());
        assert_eq!(done.is_ok(), ok, "{start:?}");
    }
}
