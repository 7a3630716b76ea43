//! The Python face of `crate::models`.

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3,
    PyReadonlyArray4,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::error::detached;
use super::search::parse_direction;
use crate::error::Error;
use crate::models::{
    self, Candidate, Checkpoint, Classifier, MaskedImages, Reward, Tokens, VisionTransformer,
};

/// A classifier that runs without torch.
#[pyclass(frozen, module = "interpix._core")]
pub(super) struct NativeModel(Arc<dyn Classifier>);

#[pymethods]
impl NativeModel {
    #[new]
    fn new(py: Python<'_>, name: &str, weights: PathBuf) -> PyResult<Self> {
        detached(py, |_| models::load_file(name, &weights)).map(|model| Self(model.into()))
    }

    #[staticmethod]
    fn from_folder(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        detached(py, |_| models::load(&folder)).map(|model| Self(model.into()))
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    #[getter]
    fn input_size(&self) -> (usize, usize) {
        self.0.input_size()
    }

    #[getter]
    fn token_grid(&self) -> Option<(usize, usize)> {
        self.0.transformer().map(VisionTransformer::grid)
    }

    #[getter]
    fn depth(&self) -> Option<usize> {
        self.0.transformer().map(VisionTransformer::depth)
    }

    #[getter]
    fn class_names(&self) -> Option<Vec<String>> {
        self.0.class_names().map(<[String]>::to_vec)
    }

    #[getter]
    fn classes(&self) -> usize {
        self.0.classes()
    }

    #[getter]
    fn independent(&self) -> bool {
        self.0.independent()
    }

    fn tokens(&self, py: Python<'_>, images: PyReadonlyArray4<'_, f32>) -> PyResult<NativeTokens> {
        let images = images.as_array();
        let tokens = detached(py, |_| transformer(&*self.0)?.embed(images))?;
        Ok(NativeTokens { model: self.0.clone(), tokens })
    }

    fn preprocess<'py>(
        &self,
        py: Python<'py>,
        image: PyReadonlyArray3<'py, u8>,
    ) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let image = image.as_array();
        Ok(detached(py, |_| self.0.preprocess(image))?.into_pyarray(py))
    }

    fn display<'py>(
        &self,
        py: Python<'py>,
        image: PyReadonlyArray3<'py, u8>,
    ) -> PyResult<Bound<'py, PyArray3<u8>>> {
        let image = image.as_array();
        Ok(detached(py, |_| self.0.display(image))?.into_pyarray(py))
    }

    fn logits<'py>(
        &self,
        py: Python<'py>,
        batch: PyReadonlyArray4<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let batch = batch.as_array();
        Ok(detached(py, |interrupted| models::logits(&*self.0, batch, interrupted))?.into_pyarray(py))
    }

    fn masked_logits<'py>(
        &self,
        py: Python<'py>,
        images: PyReadonlyArray4<'py, f32>,
        regions: PyReadonlyArray3<'py, i64>,
        fill: PyReadonlyArray4<'py, f32>,
        owner: PyReadonlyArray1<'py, i64>,
        masks: PyReadonlyArray2<'py, bool>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let game =
            MaskedImages { images: images.as_array(), regions: regions.as_array(), fill: fill.as_array() };
        let (owner, masks) = (indices("owner", &owner)?, masks.as_array());
        Ok(detached(py, |interrupted| game.logits(&*self.0, &owner, masks, interrupted))?.into_pyarray(py))
    }

    fn masked_best<'py>(
        &self,
        py: Python<'py>,
        images: PyReadonlyArray4<'py, f32>,
        regions: PyReadonlyArray3<'py, i64>,
        fill: PyReadonlyArray4<'py, f32>,
        step: Step<'py>,
    ) -> PyResult<Told<'py>> {
        let game =
            MaskedImages { images: images.as_array(), regions: regions.as_array(), fill: fill.as_array() };
        step.best(py, &*self.0, |owner, masks, interrupted| game.logits(&*self.0, owner, masks, interrupted))
    }
}

/// Of each image of a step the best player, the gap to the second best, and the logits with it.
type Told<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray2<f32>>);

/// `interpix.models.protocol.steps.Step`, by its attributes.
#[derive(FromPyObject)]
pub(super) struct Step<'py> {
    images: PyReadonlyArray1<'py, i64>,
    bases: PyReadonlyArray2<'py, bool>,
    targets: PyReadonlyArray1<'py, i64>,
    direction: String,
    reward: String,
    relative: bool,
}

impl<'py> Step<'py> {
    fn best(
        &self,
        py: Python<'py>,
        model: &dyn Classifier,
        ask: impl Fn(&[usize], ArrayView2<'_, bool>, &dyn Fn() -> bool) -> crate::Result<Array2<f32>> + Sync,
    ) -> PyResult<Told<'py>> {
        let (images, targets) = (indices("images", &self.images)?, indices("targets", &self.targets)?);
        let step = models::Step {
            images: &images,
            bases: self.bases.as_array(),
            targets: &targets,
            direction: parse_direction(&self.direction)?,
            reward: parse_reward(&self.reward)?,
            independent: !self.relative,
        };
        let best: Vec<Candidate> =
            detached(py, |interrupted| step.best(model, |owner, masks| ask(owner, masks, interrupted)))?;
        let mut logits = Array2::zeros((best.len(), model.classes()));
        logits.outer_iter_mut().zip(&best).for_each(|(mut row, one)| row.assign(&one.logits));
        Ok((
            PyArray1::from_iter(py, best.iter().map(|one| one.player as i64)),
            PyArray1::from_iter(py, best.iter().map(|one| one.gap)),
            logits.into_pyarray(py),
        ))
    }
}

fn parse_reward(word: &str) -> crate::Result<Reward> {
    match word {
        "log_odds" => Ok(Reward::LogOdds),
        "log_probability" => Ok(Reward::LogProbability),
        "probability" => Ok(Reward::Probability),
        "logit" => Ok(Reward::Logit),
        _ => {
            let expected = r#""log_odds", "log_probability", "probability" or "logit""#;
            Err(Error::argument("reward", expected, format!("{word:?}"), "pass one of these words"))
        }
    }
}

/// The model as a Vision Transformer.
fn transformer(model: &dyn Classifier) -> crate::Result<&VisionTransformer> {
    model.transformer().ok_or_else(|| Error::Model {
        model: model.name().to_owned(),
        message: "it has no tokens that can be dropped; fill pixels instead".to_owned(),
    })
}

/// Images as a Vision Transformer's tokens.
#[pyclass(frozen, module = "interpix._core")]
pub(super) struct NativeTokens {
    model: Arc<dyn Classifier>,
    tokens: Tokens,
}

#[pymethods]
impl NativeTokens {
    #[pyo3(signature = (owner, kept, *, masked, from_layer))]
    fn logits<'py>(
        &self,
        py: Python<'py>,
        owner: PyReadonlyArray1<'py, i64>,
        kept: PyReadonlyArray2<'py, bool>,
        masked: bool,
        from_layer: usize,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (owner, kept) = (indices("owner", &owner)?, kept.as_array());
        let ask = |interrupted: &dyn Fn() -> bool| self.ask(&owner, kept, (masked, from_layer), interrupted);
        Ok(detached(py, ask)?.into_pyarray(py))
    }

    #[pyo3(signature = (players, step, *, masked, from_layer))]
    fn best<'py>(
        &self,
        py: Python<'py>,
        players: PyReadonlyArray2<'py, i64>,
        step: Step<'py>,
        masked: bool,
        from_layer: usize,
    ) -> PyResult<Told<'py>> {
        let players = players.as_array();
        step.best(py, &*self.model, |owner, masks, interrupted| {
            let tokens = players.ncols();
            let kept = Array2::from_shape_fn((owner.len(), tokens), |(row, token)| {
                masks[[row, players[[owner[row], token]] as usize]]
            });
            self.ask(owner, kept.view(), (masked, from_layer), interrupted)
        })
    }
}

impl NativeTokens {
    fn ask(
        &self,
        owner: &[usize],
        kept: ArrayView2<'_, bool>,
        (masked, from_layer): (bool, usize),
        interrupted: &dyn Fn() -> bool,
    ) -> crate::Result<Array2<f32>> {
        let model = transformer(&*self.model)?;
        // Where the head reads no patch, a token that nobody attends to need not be computed.
        if masked && model.pools_patches() {
            model.masked(&self.tokens, owner, kept, from_layer, interrupted)
        } else {
            model.dropped(&self.tokens, owner, kept, from_layer, interrupted)
        }
    }
}

/// An index array; Python's are signed.
fn indices(name: &'static str, values: &PyReadonlyArray1<'_, i64>) -> PyResult<Vec<usize>> {
    let index = |&value: &i64| {
        usize::try_from(value)
            .map_err(|_| Error::argument(name, "indices from 0", value, "count from the front"))
    };
    Ok(values.as_array().iter().map(index).collect::<crate::Result<_>>()?)
}

/// The names of the native architectures.
#[pyfunction]
pub(super) fn architectures() -> Vec<String> {
    models::architectures()
}

/// Refuses a name that is no architecture's.
#[pyfunction]
pub(super) fn check_architecture(name: &str) -> crate::Result<()> {
    models::check_architecture(name)
}

/// An RGB photo as the library prepares it for the weights that it has under this name.
#[pyfunction]
pub(super) fn prepare<'py>(
    py: Python<'py>,
    name: &str,
    image: PyReadonlyArray3<'py, u8>,
) -> PyResult<Bound<'py, PyArray3<f32>>> {
    let image = image.as_array();
    Ok(detached(py, |_| models::preprocessing(name)?.apply(image))?.into_pyarray(py))
}

/// A checkpoint in torch's old pickle format, or in safetensors, as the bytes of a safetensors file.
#[pyfunction]
pub(super) fn convert_weights<'py>(
    py: Python<'py>,
    name: &str,
    source: PathBuf,
) -> PyResult<Bound<'py, PyBytes>> {
    let converted = detached(py, |_| Checkpoint::read(name, &source)?.to_safetensors())?;
    Ok(PyBytes::new(py, &converted))
}
