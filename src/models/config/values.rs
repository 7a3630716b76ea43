//! What stands in a configuration, by the path of a field; whatever is of another type than expected is an error.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::super::preprocess::MAX_SIDE;
use crate::error::{Error, Result};

/// Bytes of a configuration that is read; the names of 21,841 classes take 1.5 million.
const MAX_CONFIG: u64 = 16 << 20;
/// Letters of a value that an error repeats.
const SHOWN: usize = 80;
/// What helps against a value that cannot be meant.
pub(super) const CORRECT: &str = "correct the file, or fetch it again";
/// What helps against what no native model does.
pub(super) const IN_TORCH: &str = "load it as a torch model instead";

/// A configuration and the file that it stands in.
pub(super) struct Config {
    file: String,
    values: Value,
}

impl Config {
    /// Reads the file `path`, a JSON object.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let fail = |message: &str| {
            let message = format!("{message}; {CORRECT}");
            Error::Model { model: path.display().to_string(), message }
        };
        // Not by the size that the system tells: that of a pipe is 0.
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_CONFIG + 1).read_to_end(&mut bytes)).map_err(io)?;
        if bytes.len() as u64 > MAX_CONFIG {
            return Err(fail(&format!("expected at most {MAX_CONFIG} bytes, got more")));
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(values) if values.is_object() => Ok(Self { file: path.display().to_string(), values }),
            Ok(_) => Err(fail("it is no JSON object")),
            Err(error) => Err(fail(&format!("it is no JSON ({error})"))),
        }
    }

    /// A failure of this file.
    pub(super) fn fail(&self, message: &str) -> Error {
        Error::Model { model: self.file.clone(), message: message.to_owned() }
    }

    /// The field `field` is not what is needed.
    pub(super) fn expected(&self, field: &str, expected: &str, cure: &str) -> Error {
        let got = self.at(field).ok().flatten().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let shown: String = got.chars().take(SHOWN).collect();
        let more = if shown.len() < got.len() { " ..." } else { "" };
        self.fail(&format!("`{field}`: expected {expected}, got {shown}{more}; {cure}"))
    }

    /// The field of this path, as `pretrained_cfg.mean`; nothing if it, or what it stands in, is not there or null.
    ///
    /// # Errors
    /// [`Error::Model`] if it stands in what is no object.
    pub(super) fn at(&self, field: &str) -> Result<Option<&Value>> {
        let (mut value, mut path) = (&self.values, String::new());
        for name in field.split('.') {
            if !value.is_object() {
                return Err(self.expected(&path, "an object", CORRECT));
            }
            let Some(found) = value.get(name).filter(|found| !found.is_null()) else { return Ok(None) };
            value = found;
            path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        }
        Ok(Some(value))
    }

    /// What `read` makes of the field, which is `expected`.
    fn read_as<'a, T>(
        &'a self,
        field: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.at(field)? else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.expected(field, expected, CORRECT))
    }

    /// The fields of an object, those that are null left out.
    pub(super) fn fields(&self, field: &str) -> Result<Vec<&str>> {
        let object = if field.is_empty() {
            self.values.as_object()
        } else {
            self.read_as(field, "an object", Value::as_object)?
        };
        let fields = object.into_iter().flatten().filter(|(_, value)| !value.is_null());
        Ok(fields.map(|(name, _)| name.as_str()).collect())
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&str>> {
        self.read_as(field, "a text", Value::as_str)
    }

    /// The field, which has to be one of these texts.
    pub(super) fn choice<T: Copy>(&self, field: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| *name == text).map(|&(_, choice)| choice);
        found.map(Some).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.expected(field, &names.join(" or "), IN_TORCH)
        })
    }

    /// Refuses the field where it is said and is another value than this one.
    pub(super) fn only(&self, field: &str, value: &Value) -> Result<()> {
        // 32.0 is 32, too.
        let same = |found: &Value| found == value || found.is_number() && found.as_f64() == value.as_f64();
        match self.at(field)? {
            Some(found) if !same(found) => Err(self.expected(field, &value.to_string(), IN_TORCH)),
            _ => Ok(()),
        }
    }

    /// A number of parts, or of pixels on a side.
    pub(super) fn count(&self, field: &str) -> Result<Option<usize>> {
        self.read_as(field, &format!("a whole number from 1 to {MAX_SIDE}"), count_of)
    }

    /// A whole number from 0 on.
    pub(super) fn count_or_none(&self, field: &str) -> Result<Option<usize>> {
        let read = |value: &Value| if value.as_u64() == Some(0) { Some(0) } else { count_of(value) };
        self.read_as(field, &format!("a whole number from 0 to {MAX_SIDE}"), read)
    }

    /// Four numbers of parts.
    pub(super) fn four_counts(&self, field: &str) -> Result<Option<[usize; 4]>> {
        let read = |value: &Value| {
            let counts: Option<Vec<usize>> = value.as_array()?.iter().map(count_of).collect();
            <[usize; 4]>::try_from(counts?).ok()
        };
        self.read_as(field, "four whole numbers from 1 on", read)
    }

    /// A number between these, both of which are allowed.
    pub(super) fn number(&self, field: &str, (least, most): (f64, f64)) -> Result<Option<f64>> {
        let inside = |value: &Value| value.as_f64().filter(|number| (least..=most).contains(number));
        self.read_as(field, &format!("a positive number from {least:e} to {most:e}"), inside)
    }

    pub(super) fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.read_as(field, "true or false", Value::as_bool)
    }

    /// One number for each color, from `least` to `most`.
    pub(super) fn colors(&self, field: &str, (least, most): (f64, f64)) -> Result<Option<[f32; 3]>> {
        let read = |value: &Value| {
            let number = |value: &Value| {
                value.as_f64().filter(|number| (least..=most).contains(number)).map(|number| number as f32)
            };
            let numbers: Option<Vec<f32>> = value.as_array()?.iter().map(number).collect();
            <[f32; 3]>::try_from(numbers?).ok()
        };
        self.read_as(field, &format!("three numbers from {least:e} to {most:e}"), read)
    }

    /// Height and width, from one number, two, or those that follow the channels.
    pub(super) fn size(&self, field: &str) -> Result<Option<(usize, usize)>> {
        let read = |value: &Value| {
            let sides: Vec<usize> = match value {
                Value::Array(values) => values.iter().map(count_of).collect::<Option<_>>()?,
                Value::Object(sides) => ["height", "width"]
                    .iter()
                    .map(|name| count_of(sides.get(*name)?))
                    .collect::<Option<_>>()?,
                one => vec![count_of(one)?],
            };
            match sides[..] {
                [side] => Some((side, side)),
                [height, width] | [3, height, width] => Some((height, width)),
                _ => None,
            }
        };
        self.read_as(field, &format!("height and width in pixels, at most {MAX_SIDE}, of three colors"), read)
    }

    pub(super) fn names(&self, field: &str) -> Result<Option<Vec<String>>> {
        let read = |value: &Value| {
            value.as_array()?.iter().map(|name| Some(name.as_str()?.to_owned())).collect::<Option<_>>()
        };
        self.read_as(field, "a list of names", read)
    }
}

fn count_of(value: &Value) -> Option<usize> {
    value.as_u64().map(|count| count as usize).filter(|count| (1..=MAX_SIDE).contains(count))
}
