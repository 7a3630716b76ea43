//! Native classifiers: preprocessing, the network, scores of coalitions.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use interpix::Error;
use interpix::models::{
    self, Classifier, Filter, MaskedImages, Preprocessing, Resize, Reward, Rounding, Step, resize_bicubic,
};
use interpix::search::Direction;
use ndarray::{Array2, Array3, Array4, ArrayView2, ArrayView4, Axis, array};
use safetensors::tensor::{Dtype, TensorView};

const PREPROCESSING: Preprocessing = Preprocessing {
    resize: Resize::Short(6),
    filter: Filter::Bicubic,
    crop: (4, 4),
    rounding: Rounding::Even,
    mean: [127.0; 3],
    scale: [128.0, 128.0, 64.0],
};

#[test]
fn crops_the_middle_and_normalizes() {
    let photo =
        Array3::from_shape_fn((6, 9, 3), |(row, column, channel)| (20 * row + 5 * column + channel) as u8);
    let crop = PREPROCESSING.crop(photo.view()).unwrap();
    // Already 6 pixels high, so nothing is resized; 9 - 4 halves to 2.5, which rounds to even.
    assert_eq!(crop, photo.slice(ndarray::s![1..5, 2..6, ..]));
    let input = PREPROCESSING.apply(photo.view()).unwrap();
    assert_eq!(input.dim(), (3, 4, 4));
    assert_eq!(input[[1, 0, 0]], (f32::from(photo[[1, 2, 1]]) - 127.0) / 128.0);
    assert_eq!(input[[2, 0, 0]], (f32::from(photo[[1, 2, 2]]) - 127.0) / 64.0);
}

#[test]
fn half_a_pixel_goes_where_the_library_has_it() {
    // 9 - 6 halves to 1.5: to even is 2, down is 1.
    let photo = Array3::from_shape_fn((6, 9, 3), |(_, column, _)| column as u8);
    for (rounding, first) in [(Rounding::Even, 2), (Rounding::Down, 1)] {
        let crop = Preprocessing { crop: (6, 6), rounding, ..PREPROCESSING }.crop(photo.view()).unwrap();
        assert_eq!(crop[[0, 0, 0]], first);
    }
}

#[test]
fn impossible_sizes_are_refused_before_anything_is_made() {
    let photo = Array3::zeros((6, 9, 3));
    let huge = usize::MAX;
    for (resize, crop, scale) in [
        (Resize::Short(huge), (4, 4), [1.0; 3]),
        (Resize::Exact(huge, huge), (huge, 4), [1.0; 3]),
        (Resize::Cover(0, 4), (4, 4), [1.0; 3]),
        (Resize::Short(6), (7, 4), [1.0; 3]),
        (Resize::Short(6), (0, 4), [1.0; 3]),
        (Resize::Short(6), (4, 4), [1.0, 0.0, 1.0]),
        (Resize::Short(6), (4, 4), [1.0, f32::NAN, 1.0]),
    ] {
        let preprocessing = Preprocessing { resize, crop, scale, ..PREPROCESSING };
        let error = preprocessing.apply(photo.view()).unwrap_err();
        assert!(matches!(error, Error::Argument { name: "preprocessing", .. }), "{resize:?}: {error}");
    }
}

#[test]
fn enlarging_an_edge_overshoots_and_is_clamped() {
    let edge = Array3::from_shape_fn((1, 4, 3), |(_, column, _)| if column < 2 { 0 } else { 255 });
    let wide = resize_bicubic(edge.view(), 1, 8).unwrap();
    let line: Vec<u8> = wide.slice(ndarray::s![0, .., 0]).to_vec();
    // Keys' kernel at the quarter points: 0.2265625 of the step, and overshoot beside it that bytes cannot hold.
    assert_eq!(line, [0, 0, 0, 52, 203, 255, 255, 255]);
}

#[test]
fn bad_photos_are_named() {
    for shape in [(0, 4, 3), (4, 0, 3), (4, 4, 4)] {
        let error = PREPROCESSING.apply(Array3::zeros(shape).view()).unwrap_err();
        assert!(matches!(error, Error::Argument { name: "image", .. }), "{error}");
    }
}

pub(crate) fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("interpix-test-{}-{name}", std::process::id()))
}

/// Logits of a picture: 0 for class 0 and the sum of the picture for class 1.
struct Sum(Preprocessing);

/// The same, each class on its own.
struct Labels(Sum);

impl Classifier for Labels {
    fn name(&self) -> &'static str {
        "labels"
    }

    fn preprocessing(&self) -> &Preprocessing {
        self.0.preprocessing()
    }

    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn class_names(&self) -> Option<&[String]> {
        None
    }

    fn independent(&self) -> bool {
        true
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> interpix::Result<Array2<f32>> {
        self.0.logits(batch)
    }
}

#[test]
fn a_label_of_its_own_is_scored_by_its_own_logit() {
    let logits = array![1.0_f32, 2.0, -1.0];
    let of = |model: &dyn Classifier, target| models::score(model, logits.view(), target);
    let labels = Labels(Sum(PREPROCESSING));
    let rewards = [0, 1, 2].map(|target| of(&labels, target).unwrap().reward);
    assert_eq!(rewards, [1.0, 2.0, -1.0]);
    assert_eq!([0, 1, 2].map(|target| of(&labels, target).unwrap().holds), [true, true, false]);
    let one_of_many = Sum(PREPROCESSING);
    assert_eq!([0, 1, 2].map(|target| of(&one_of_many, target).unwrap().holds), [false, true, false]);
    assert!(of(&one_of_many, 0).unwrap().reward < 0.0);
    assert_eq!(models::score(&labels, array![0.5_f32].view(), 0).unwrap().reward, 0.5);
    assert!(models::score(&one_of_many, array![0.5_f32].view(), 0).is_err());
    assert!(matches!(of(&labels, 3).unwrap_err(), Error::Argument { name: "target", .. }));
}

impl Classifier for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn preprocessing(&self) -> &Preprocessing {
        &self.0
    }

    fn classes(&self) -> usize {
        2
    }

    fn class_names(&self) -> Option<&[String]> {
        None
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> interpix::Result<Array2<f32>> {
        Ok(Array2::from_shape_fn((batch.dim().0, 2), |(row, class)| {
            if class == 0 { 0.0 } else { batch.index_axis(Axis(0), row).sum() }
        }))
    }
}

fn pictures() -> (Array4<f32>, Array3<i64>, Array4<f32>) {
    let images = Array4::from_shape_fn((2, 3, 2, 3), |(image, ..)| if image == 0 { 1.0 } else { 2.0 });
    // The second image's regions lie another way round.
    (images, array![[[0, 0, 1], [0, 0, 2]], [[1, 1, 0], [2, 2, 0]]], Array4::from_elem((2, 3, 2, 3), -1.0))
}

#[test]
fn absent_regions_show_the_fill() {
    let (images, regions, fill) = pictures();
    let game = MaskedImages { images: images.view(), regions: regions.view(), fill: fill.view() };
    let masks = array![[true, true, true], [false, false, false], [true, false, false], [false, true, true]];
    let scores =
        game.score(&Sum(PREPROCESSING), (&[0, 0, 0, 1], &[1, 1, 1, 0]), masks.view(), &|| false).unwrap();
    // 6 pixels of 3 channels: all 1; all -1; 4 of 1 and 2 of -1; 4 of 2 and 2 of -1. The last is seen from class 0.
    let rewards: Vec<f64> = scores.iter().map(|score| score.reward).collect();
    assert_eq!(rewards, [18.0, -18.0, 6.0, -18.0]);
    assert_eq!(scores.iter().map(|score| score.predicted).collect::<Vec<_>>(), [1, 0, 1, 1].map(Some));
    assert!((scores[2].answer - 1.0 / (1.0 + (-6.0_f64).exp())).abs() < 1e-15);
}

#[test]
fn an_interrupt_stops_between_chunks() {
    let (images, regions, fill) = pictures();
    let game = MaskedImages { images: images.view(), regions: regions.view(), fill: fill.view() };
    let asked = Cell::new(0);
    let hook = || {
        asked.set(asked.get() + 1);
        asked.get() == 2
    };
    let masks = Array2::from_elem((5, 3), true);
    let error = game.score(&Sum(PREPROCESSING), (&[0; 5], &[0; 5]), masks.view(), &hook).unwrap_err();
    assert!(matches!(error, Error::Interrupted));
}

#[test]
fn coalitions_that_do_not_fit_are_named() {
    let (images, regions, fill) = pictures();
    let game = MaskedImages { images: images.view(), regions: regions.view(), fill: fill.view() };
    let ask = |game: &MaskedImages<'_>, owner: usize, target: usize, players: usize| {
        let masks = Array2::from_elem((1, players), true);
        game.score(&Sum(PREPROCESSING), (&[owner], &[target]), masks.view(), &|| false)
            .unwrap_err()
            .to_string()
    };
    assert!(ask(&game, 2, 0, 3).starts_with("`owner`: expected below 2, got 2"));
    assert!(ask(&game, 0, 2, 3).starts_with("`target`: expected a class below 2, got 2"));
    assert!(ask(&game, 0, 0, 2).starts_with("`regions`: expected labels 0..2"));
    // Other images may have more regions than those that are asked about.
    let two = array![[[0, 0, 1], [0, 0, 1]], [[1, 1, 0], [2, 2, 0]]];
    let one_of_two = MaskedImages { regions: two.view(), ..game };
    let masks = array![[true, false]];
    assert_eq!(
        one_of_two.logits(&Sum(PREPROCESSING), &[0], masks.view(), &|| false).unwrap(),
        array![[0.0, 6.0]]
    );
    assert!(ask(&one_of_two, 1, 0, 2).starts_with("`regions`: expected labels 0..2"));
    let short = fill.slice(ndarray::s![..1, .., .., ..]);
    assert!(ask(&MaskedImages { fill: short, ..game }, 0, 0, 3).starts_with("`fill`"));
    let broken = Array4::from_elem((2, 3, 2, 3), f32::NAN);
    assert!(ask(&MaskedImages { images: broken.view(), ..game }, 0, 0, 3).contains("not finite"));
}

/// The name and shape of each tensor of EfficientNet-Lite0.
fn lite0_shapes() -> Vec<(String, Vec<usize>)> {
    let stages = [(1, 3, 16), (2, 3, 24), (2, 5, 40), (3, 3, 80), (3, 5, 112), (4, 5, 192), (1, 3, 320)];
    let mut shapes = vec![("_fc.weight".to_owned(), vec![1000, 1280]), ("_fc.bias".to_owned(), vec![1000])];
    let mut add = |path: &str, norm: &str, shape: Vec<usize>| {
        for statistic in ["weight", "bias", "running_mean", "running_var"] {
            shapes.push((format!("{norm}.{statistic}"), vec![shape[0]]));
        }
        shapes.push((format!("{path}.weight"), shape));
    };
    add("_conv_stem", "_bn0", vec![32, 3, 3, 3]);
    add("_conv_head", "_bn1", vec![1280, 320, 1, 1]);
    let (mut inputs, mut index) = (32, 0);
    for (blocks, kernel, channels) in stages {
        for _ in 0..blocks {
            let at = format!("_blocks.{index}");
            let wide = if index == 0 { inputs } else { 6 * inputs };
            if index > 0 {
                add(&format!("{at}._expand_conv"), &format!("{at}._bn0"), vec![wide, inputs, 1, 1]);
            }
            add(&format!("{at}._depthwise_conv"), &format!("{at}._bn1"), vec![wide, 1, kernel, kernel]);
            add(&format!("{at}._project_conv"), &format!("{at}._bn2"), vec![channels, wide, 1, 1]);
            (inputs, index) = (channels, index + 1);
        }
    }
    shapes
}

/// A weights file of arbitrary numbers; positive, so that variances are.
fn write_lite0(path: &Path, without: &str) {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, shape) in lite0_shapes() {
        let count: usize = shape.iter().product();
        let element = |index: usize| {
            ((index * index % 251) as f32 / 251.0 - if name.ends_with("var") { -0.5 } else { 0.5 }) * 0.2
        };
        let bytes = (0..count).flat_map(|index| element(index).to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let views = tensors.iter().filter(|(name, ..)| name != without);
    let views =
        views.map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A weights file of tensors of these names and shapes; positive where variances are, and of no pattern elsewhere.
fn write_tensors(path: &Path, shapes: &[(String, Vec<usize>)]) {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .iter()
        .map(|(name, shape)| {
            let element = |index: usize| {
                ((index * index % 251) as f32 / 251.0 - if name.ends_with("var") { -0.5 } else { 0.5 }) * 0.2
            };
            let bytes = (0..shape.iter().product()).flat_map(|index| element(index).to_le_bytes()).collect();
            (name.clone(), shape.clone(), bytes)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The name and shape of each tensor of a Vision Transformer as timm names them.
fn vit_shapes(width: usize, depth: usize, patches: usize, classes: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: &str, shape: &[usize]| {
        shapes.push((format!("{name}.weight"), shape.to_vec()));
        shapes.push((format!("{name}.bias"), shape[..1].to_vec()));
    };
    for block in 0..depth {
        let path = format!("blocks.{block}");
        add(&format!("{path}.norm1"), &[width]);
        add(&format!("{path}.attn.qkv"), &[3 * width, width]);
        add(&format!("{path}.attn.proj"), &[width, width]);
        add(&format!("{path}.norm2"), &[width]);
        add(&format!("{path}.mlp.fc1"), &[2 * width, width]);
        add(&format!("{path}.mlp.fc2"), &[width, 2 * width]);
    }
    add("norm", &[width]);
    add("head", &[classes, width]);
    add("patch_embed.proj", &[width, 3, 8, 8]);
    shapes.push(("cls_token".to_owned(), vec![1, 1, width]));
    shapes.push(("pos_embed".to_owned(), vec![1, 1 + patches, width]));
    shapes
}

/// A folder as a hub gives it, of a small Vision Transformer.
fn vit_folder(name: &str) -> PathBuf {
    let folder = temporary(name);
    std::fs::create_dir_all(&folder).unwrap();
    write_tensors(&folder.join("model.safetensors"), &vit_shapes(64, 3, 24, 5));
    let config = r#"{"architecture": "vit_tiny_patch16_224", "label_names": ["a", "b", "c", "d", "e"],
                     "model_args": {"embed_dim": 64, "depth": 3, "num_heads": 2},
                     "pretrained_cfg": {"input_size": [3, 32, 48], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    folder
}

#[test]
fn a_folder_tells_what_its_model_is_and_tokens_can_be_dropped() {
    let folder = vit_folder("vit");
    let model = models::load(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((model.name(), model.classes(), model.input_size()), ("vit_tiny_patch16_224", 5, (32, 48)));
    assert_eq!(model.class_names().unwrap(), ["a", "b", "c", "d", "e"]);
    let images =
        Array4::from_shape_fn((2, 3, 32, 48), |(n, c, y, x)| ((n + 2 * c + 3 * y + x * x) % 17) as f32);
    let vit = model.transformer().unwrap();
    assert_eq!((vit.grid(), vit.depth(), vit.pools_patches()), ((4, 6), 3, false));
    let tokens = vit.embed(images.view()).unwrap();
    let whole = Array2::from_elem((2, 24), true);
    let all = vit.dropped(&tokens, &[1, 0], whole.view(), 0, &|| false).unwrap();
    let plain = model.logits(images.view()).unwrap();
    assert_eq!((all.row(0), all.row(1)), (plain.row(1), plain.row(0)));
    // Every third patch: attention that never sees a token is as good as no token.
    let some = Array2::from_shape_fn((2, 24), |(row, patch)| (patch + row) % 3 == 0);
    let dropped = vit.dropped(&tokens, &[0, 1], some.view(), 0, &|| false).unwrap();
    let masked = vit.masked(&tokens, &[0, 1], some.view(), 0, &|| false).unwrap();
    assert!(dropped.iter().zip(&masked).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_ne!(dropped, plain);
    let error = vit.dropped(&tokens, &[0, 2], some.view(), 0, &|| false).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "owner", .. }), "{error}");
    let error = vit.masked(&tokens, &[0, 1], some.view(), 3, &|| false).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "from_layer", .. }), "{error}");
    let none = vit.embed(images.slice(ndarray::s![..0, .., .., ..])).unwrap();
    for from in [0, 1] {
        let nothing = Array2::from_elem((0, 24), true);
        let nothing = nothing.view();
        assert_eq!(vit.dropped(&none, &[], nothing, from, &|| false).unwrap().dim(), (0, 5));
        assert_eq!(vit.masked(&none, &[], nothing, from, &|| false).unwrap().dim(), (0, 5));
    }
    let stopped = vit.dropped(&tokens, &[0, 1], some.view(), 0, &|| true).unwrap_err();
    assert!(matches!(stopped, Error::Interrupted));
    let error = model.logits(Array4::zeros((1, 3, 48, 32)).view()).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "batch", .. }), "{error}");
}

/// The length of a header may begin with the byte that a pickle begins with.
#[test]
fn safetensors_of_any_length_of_header_are_told_from_pickles() {
    let path = temporary("header.safetensors");
    for padding in 0..40 {
        let mut shapes = vit_shapes(16, 1, 4, 2);
        shapes.push((format!("x{}", "y".repeat(8 * padding)), vec![1]));
        write_tensors(&path, &shapes);
        let error = models::load_file("vit_tiny_patch16_224", &path).err().unwrap().to_string();
        assert!(error.contains("left over: `xy") || error.contains("left over: `x`"), "{error}");
        assert!(!error.contains("pickle"), "{error}");
    }
    std::fs::remove_file(path).unwrap();
}

/// To the last bit (R5): chunks are sized by the clock, and what is kept by answers has to be found again. The small
/// picture is one pixel in the last layers.
#[test]
fn neither_batches_nor_threads_change_a_logit() {
    let path = temporary("lite0.safetensors");
    write_lite0(&path, "");
    let model = models::load_file("efficientnet_lite0", &path).unwrap();
    std::fs::remove_file(path).unwrap();
    for (height, width) in [(64, 96), (24, 32)] {
        let batch = Array4::from_shape_fn((7, 3, height, width), |(n, c, y, x)| {
            ((n + 2 * c + 3 * y + x * x) % 17) as f32 / 8.0 - 1.0
        });
        let together = model.logits(batch.view()).unwrap();
        assert!(together.iter().any(|&logit| logit != 0.0));
        for size in 1..=4 {
            let parts: Vec<_> = batch.axis_chunks_iter(Axis(0), size).collect();
            let logits: Vec<_> = parts.into_iter().map(|part| model.logits(part).unwrap()).collect();
            let views: Vec<_> = logits.iter().map(|part| part.view()).collect();
            assert_eq!(ndarray::concatenate(Axis(0), &views).unwrap(), together, "in parts of {size}");
        }
        let chunks = models::logits(&*model, batch.view(), &|| false).unwrap();
        assert_eq!(chunks, together);
        interpix::parallel::set_threads(1);
        let serial = model.logits(batch.view()).unwrap();
        interpix::parallel::set_threads(0);
        assert_eq!(serial, together);
    }
    assert_eq!(model.logits(Array4::zeros((0, 3, 32, 32)).view()).unwrap().dim(), (0, 1000));
}

#[test]
fn another_models_weights_are_refused() {
    let path = temporary("incomplete.safetensors");
    write_lite0(&path, "_blocks.3._bn1.bias");
    let refused = models::load_file("efficientnet_lite0", &path).err().unwrap().to_string();
    assert!(refused.contains("missing: `_blocks.3._bn1.bias`"), "{refused}");
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..1000]).unwrap();
    let cut = models::load_file("efficientnet_lite0", &path).err().unwrap().to_string();
    assert!(cut.contains("cut short") && cut.contains("incomplete.safetensors"), "{cut}");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(models::load_file("efficientnet_lite0", &path), Err(Error::Io { .. })));
    assert!(matches!(models::load_file("resnet", &path), Err(Error::Argument { name: "name", .. })));
}

/// Element `index` of tensor number `start`, as in `tests/data/make_native.py`.
fn wave(index: usize, start: usize) -> f64 {
    ((index * index + 31 * index + 17 * start) % 65521) as f64 / 32760.5 - 1.0
}

/// A folder of a network whose weights are formulas.
fn write_golden(folder: &Path, golden: &serde_json::Value) {
    let tensors = golden["tensors"].as_object().unwrap().iter().enumerate().map(|(place, (name, shape))| {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        let value = |index: usize| -> f32 {
            let wave = wave(index, place);
            let value = if name.ends_with("running_var") {
                1.0 + 0.5 * wave
            } else if shape.len() == 1 && name.ends_with("weight") {
                1.0 + 0.3 * wave
            } else if shape.len() == 1 || shape[0] == 1 {
                0.3 * wave
            } else {
                wave * (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt()
            };
            value as f32
        };
        let bytes: Vec<u8> =
            (0..shape.iter().product()).flat_map(|index| value(index).to_le_bytes()).collect();
        (name, shape, bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(folder.join("config.json"), golden["config"].to_string()).unwrap();
}

/// One by one and together, the logits that timm's networks have.
#[test]
fn logits_are_those_of_timm() {
    let golden: Vec<serde_json::Value> = serde_json::from_str(include_str!("../data/native.json")).unwrap();
    assert_eq!(golden.len(), 8);
    for golden in golden {
        let name = golden["config"]["architecture"].as_str().unwrap();
        let folder = temporary(&format!("golden_{name}"));
        write_golden(&folder, &golden);
        let model = models::load(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let (height, width) = model.input_size();
        let expected: Vec<Vec<f32>> = serde_json::from_value(golden["logits"].clone()).unwrap();
        let pictures = Array4::from_shape_fn((expected.len(), 3, height, width), |(n, c, y, x)| {
            wave(((n * 3 + c) * height + y) * width + x, 0) as f32
        });
        let together = model.logits(pictures.view()).unwrap();
        let greatest = expected.iter().flatten().fold(0.0_f32, |most, one| most.max(one.abs()));
        for (row, expected) in expected.iter().enumerate() {
            let alone = model.logits(pictures.slice(ndarray::s![row..=row, .., .., ..])).unwrap();
            assert_eq!(alone.row(0), together.row(row), "{name}");
            for (found, expected) in alone.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4 * greatest, "{name}: {found} for {expected}");
            }
        }
    }
}

/// Logits of two classes that depend on the coalition in a way with many ties.
fn tied_logits(owner: &[usize], masks: ArrayView2<'_, bool>) -> Array2<f32> {
    Array2::from_shape_fn((owner.len(), 2), |(row, class)| {
        let members = masks.row(row);
        let sum: usize = members
            .iter()
            .enumerate()
            .filter(|&(_, &there)| there)
            .map(|(one, _)| one * one + owner[row])
            .sum();
        (sum % 5 + class) as f32 * if class == 0 { 0.5 } else { -0.25 }
    })
}

#[test]
fn the_best_of_a_step_is_that_of_all_of_its_candidates() {
    // 26 images of 50 players: more candidates than are asked about at once.
    let (images, players): (Vec<usize>, usize) = ((0..26).rev().collect(), 50);
    let bases = Array2::from_shape_fn((26, players), |(image, player)| (image + 3 * player) % 7 < 3);
    let targets: Vec<usize> = images.iter().map(|image| image % 2).collect();
    for (direction, reward, independent) in kinds_of_steps() {
        let step =
            Step { images: &images, bases: bases.view(), targets: &targets, direction, reward, independent };
        let mut most = 0;
        let ask = |owner: &[usize], masks: ArrayView2<'_, bool>| {
            most = most.max(owner.len());
            Ok(tied_logits(owner, masks))
        };
        let best = step.best(&Sum(PREPROCESSING), ask).unwrap();
        assert_eq!(
            most,
            1024.min(bases.iter().filter(|&&there| there != (direction == Direction::Insertion)).count())
        );
        for (place, found) in best.iter().enumerate() {
            let mut all = Vec::new();
            for player in
                (0..players).filter(|&player| bases[[place, player]] != (direction == Direction::Insertion))
            {
                let mut mask = bases.slice(ndarray::s![place..=place, ..]).to_owned();
                mask[[0, player]] ^= true;
                let logits = tied_logits(&images[place..=place], mask.view()).row(0).to_owned();
                let earned = reward.of(logits.view(), targets[place], independent);
                all.push((if direction == Direction::Insertion { earned } else { -earned }, player, logits));
            }
            let greatest = all.iter().map(|one| one.0).fold(f64::NEG_INFINITY, f64::max);
            let (_, player, logits) = all.iter().find(|one| one.0 == greatest).unwrap();
            let others = all.iter().filter(|one| one.1 != *player).map(|one| one.0);
            let second = others.fold(f64::NEG_INFINITY, f64::max);
            assert_eq!((found.player, &found.logits, found.gap), (*player, logits, greatest - second));
        }
    }
}

fn kinds_of_steps() -> impl Iterator<Item = (Direction, Reward, bool)> {
    let rewards = [Reward::LogOdds, Reward::LogProbability, Reward::Probability, Reward::Logit];
    [Direction::Insertion, Direction::Deletion].into_iter().flat_map(move |direction| {
        rewards.into_iter().flat_map(move |reward| [false, true].map(|alone| (direction, reward, alone)))
    })
}

#[test]
fn steps_that_do_not_fit_are_named() {
    let (model, present) = (Sum(PREPROCESSING), array![[true, false, true]]);
    let step = Step {
        images: &[4],
        bases: present.view(),
        targets: &[1],
        direction: Direction::Insertion,
        reward: Reward::LogOdds,
        independent: false,
    };
    let ask = |owner: &[usize], masks: ArrayView2<'_, bool>| Ok(tied_logits(owner, masks));
    // The only candidate is ahead of nobody.
    assert_eq!(step.best(&model, ask).unwrap()[0].gap, f64::INFINITY);
    let message = |step: Step<'_>| step.best(&model, ask).unwrap_err().to_string();
    assert!(message(Step { targets: &[2], ..step }).contains("a class below 2"));
    assert!(message(Step { targets: &[1, 1], ..step }).contains("`targets`: expected 1 of them"));
    assert!(message(Step { images: &[4, 5], ..step }).contains("`bases`: expected 2 of them"));
    let all = array![[true, true, true]];
    assert!(message(Step { bases: all.view(), ..step }).contains("none for image 4"));
    for logits in [array![[0.0_f32, 1.0], [2.0, 3.0]], array![[0.0, 1.0, 2.0]]] {
        let error = step.best(&model, |_: &[usize], _: ArrayView2<'_, bool>| Ok(logits.clone())).unwrap_err();
        assert!(error.to_string().starts_with("`ask`: expected shape (1, 2)"), "{error}");
    }
    let odd = |_: &[usize], _: ArrayView2<'_, bool>| Ok(array![[0.0, f32::NAN]]);
    let first = array![[true, false, false]];
    let error = Step { bases: first.view(), direction: Direction::Deletion, ..step };
    let error = error.best(&model, odd).unwrap_err().to_string();
    assert!(error.contains("NaN or infinity for the image with 3 of its 3 patches absent"), "{error}");
}
