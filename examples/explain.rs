//! MoXI in pure Rust: which patches of a photo are enough for its class?
//!
//! With a folder as a hub gives it, or the name of an architecture and a file of weights:
//!
//! ```text
//! cargo run --release --features models --example explain -- photo.jpg FOLDER
//! cargo run --release --features models --example explain -- photo.png vit_tiny_patch16_224 model.safetensors
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use interpix::models::{self, Classifier, MaskedImages};
use interpix::search::{Batch, Direction, Score, Search, SearchOptions, Stop, Task};
use ndarray::{Array2, Array3, Array4, Axis, Dim};
use zune_jpeg::JpegDecoder;

/// Patches on a side, where a model has no tokens.
const GRID: (usize, usize) = (7, 7);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (photo, model) = match &arguments[..] {
        [photo, folder] => (photo, models::load(Path::new(folder))?),
        [photo, name, weights] => (photo, models::load_file(name, Path::new(weights))?),
        _ => return Err("usage: explain PHOTO (FOLDER | ARCHITECTURE WEIGHTS)".into()),
    };
    let image = model.preprocess(read_photo(Path::new(photo))?.view())?.insert_axis(Axis(0));
    let logits = model.logits(image.view())?;
    let target = models::predict(logits.row(0));
    let grid = model.transformer().map_or(GRID, interpix::models::VisionTransformer::grid);
    let score = scorer(&*model, image, grid, target)?;

    let options = SearchOptions {
        direction: Direction::Insertion,
        stop: Stop::Flip { min_confidence: 0.0, min_players: 0 },
        ..SearchOptions::default()
    };
    let mut search = Search::new(vec![Task::new(grid.0 * grid.1)], options)?;
    let outcome = search.run(score)?.swap_remove(0);

    let name = model.class_names().map_or_else(|| format!("class {target}"), |names| names[target].clone());
    let mut out = std::io::stdout();
    writeln!(out, "{photo}: {name}, p = {:.2}", outcome.full.answer)?;
    match outcome.stopped_at {
        Some(steps) => {
            let patches = outcome.ranking[..steps].iter().map(|patch| (patch / grid.1, patch % grid.1));
            let patches: Vec<_> = patches.collect();
            writeln!(out, "enough of its {} x {} patches (row, column): {patches:?}", grid.0, grid.1)?;
        }
        None => writeln!(out, "no group of patches gives this class")?,
    }
    Ok(())
}

/// From batches of a search to scores: a Vision Transformer's tokens are dropped, others' pixels are filled.
fn scorer(
    model: &dyn Classifier,
    image: Array4<f32>,
    grid: (usize, usize),
    target: usize,
) -> Result<impl FnMut(&Batch) -> interpix::Result<Vec<Score>>, Box<dyn Error>> {
    let (_, _, height, width) = image.dim();
    let fill = Array4::zeros(image.dim());
    let regions = Array3::from_shape_fn(Dim([1, height, width]), |(_, y, x)| {
        (y * grid.0 / height * grid.1 + x * grid.1 / width) as i64
    });
    let tokens = model.transformer().map(|transformer| transformer.embed(image.view())).transpose()?;
    Ok(move |batch: &Batch| {
        let logits: Array2<f32> =
            match (model.transformer(), &tokens) {
                (Some(transformer), Some(tokens)) => {
                    transformer.dropped(tokens, batch.owner(), batch.masks().view(), 0, &|| false)?
                }
                _ => MaskedImages { images: image.view(), regions: regions.view(), fill: fill.view() }
                    .logits(model, batch.owner(), batch.masks().view(), &|| false)?,
            };
        logits.outer_iter().map(|logits| models::score(model, logits, target)).collect()
    })
}

/// The pixels (H, W, 3) of a JPEG or a PNG.
fn read_photo(path: &Path) -> Result<Array3<u8>, Box<dyn Error>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut first = [0; 2];
    file.read_exact(&mut first)?;
    file.rewind()?;
    if first == [0xff, 0xd8] {
        let mut decoder = JpegDecoder::new(file);
        let pixels = decoder.decode()?;
        let (width, height) = decoder.dimensions().ok_or("the file has no size")?;
        return in_color((height, width), &pixels);
    }
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
    let info = reader.next_frame(&mut pixels)?;
    in_color((info.height as usize, info.width as usize), &pixels[..info.buffer_size()])
}

/// Gray, gray with alpha, color, or color with alpha, as color (H, W, 3); what is transparent keeps its color.
fn in_color((height, width): (usize, usize), pixels: &[u8]) -> Result<Array3<u8>, Box<dyn Error>> {
    let channels = pixels.len() / (height * width).max(1);
    let color = |(y, x, channel): (usize, usize, usize)| {
        pixels[(y * width + x) * channels + if channels < 3 { 0 } else { channel }]
    };
    match channels {
        1..=4 => Ok(Array3::from_shape_fn((height, width, 3), color)),
        _ => Err("the picture has no pixels".into()),
    }
}
