//! MoXI in pure Rust: which patches of a photo are enough for its class?
//!
//! `cargo run --release --features models --example explain -- examples/coffee.jpg efficientnet_lite0.safetensors`

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use interpix::models::{self, MaskedImages};
use interpix::search::{Direction, Search, SearchOptions, Stop, Task};
use ndarray::{Array2, Array3, Array4, Axis};
use zune_jpeg::JpegDecoder;

/// Patches on a side.
const GRID: usize = 14;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photo, weights] = &arguments[..] else { return Err("usage: explain PHOTO.jpg WEIGHTS".into()) };
    let model = models::load("efficientnet_lite0", Path::new(weights))?;
    let images = model.preprocess(read_jpeg(Path::new(photo))?.view())?.insert_axis(Axis(0));
    let fill = Array4::zeros(images.dim());
    let (height, width) = model.input_size();
    let regions = Array3::from_shape_fn((1, height, width), |(_, y, x)| {
        (y * GRID / height * GRID + x * GRID / width) as i64
    });
    let game = MaskedImages { images: images.view(), regions: regions.view(), fill: fill.view() };

    let everything = Array2::from_elem((1, GRID * GRID), true);
    let target =
        game.score(&*model, (&[0], &[0]), everything.view(), &|| false)?[0].predicted.unwrap_or_default();
    let options = SearchOptions {
        direction: Direction::Insertion,
        stop: Stop::Flip { min_confidence: 0.0, min_players: 0 },
        ..SearchOptions::default()
    };
    let mut search = Search::new(vec![Task::new(GRID * GRID)], options)?;
    let outcomes = search.run(|batch| {
        let targets = vec![target; batch.owner().len()];
        game.score(&*model, (batch.owner(), &targets), batch.masks().view(), &|| false)
    })?;

    let (outcome, name) = (&outcomes[0], model.class_names()[target]);
    let mut out = std::io::stdout();
    writeln!(out, "{photo}: {name}, p = {:.2}", outcome.full.answer)?;
    match outcome.stopped_at {
        Some(steps) => writeln!(out, "these patches are enough: {:?}", &outcome.ranking[..steps])?,
        None => writeln!(out, "no group of patches gives this class")?,
    }
    Ok(())
}

/// The pixels (H, W, 3) of a color JPEG.
fn read_jpeg(path: &Path) -> Result<Array3<u8>, Box<dyn Error>> {
    let mut decoder = JpegDecoder::new(BufReader::new(File::open(path)?));
    let pixels = decoder.decode()?;
    let (width, height) = decoder.dimensions().ok_or("the file has no size")?;
    Ok(Array3::from_shape_vec((height, width, 3), pixels)?)
}
