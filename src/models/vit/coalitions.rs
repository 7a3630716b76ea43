//! Coalitions of patches: tokens dropped, or attention masked, from a block on.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::super::network::Network;
use super::{Level, Levels, Tokens, VisionTransformer};
use crate::error::{Error, Result};
use crate::parallel;

impl VisionTransformer {
    /// Logits (c, classes) of the coalitions `kept` (c, patches; true = present) of the embedded images `owner` (c), the
    /// tokens of all other patches dropped before block `from`. `interrupted` is asked before each few of them.
    ///
    /// # Errors
    /// [`Error::Argument`] if shapes, owners or the block do not fit, [`Error::Memory`] and [`Error::Interrupted`].
    pub fn dropped(
        &self,
        tokens: &Tokens,
        owner: &[usize],
        kept: ArrayView2<'_, bool>,
        from: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Array2<f32>> {
        self.check_coalitions(tokens, owner, kept, from)?;
        if owner.is_empty() {
            // Of no images there is no level either.
            return Ok(Array2::zeros((0, self.classes())));
        }
        let (level, prefix) = (self.level_of(tokens, from), self.prefix());
        let mut by_size: HashMap<usize, Vec<usize>> = HashMap::new();
        for (row, kept) in kept.outer_iter().enumerate() {
            by_size.entry(kept.iter().filter(|&&kept| kept).count()).or_default().push(row);
        }
        let mut logits = Array2::zeros((owner.len(), self.classes()));
        for (size, rows) in by_size {
            let some = self.in_chunks(&rows, prefix + size, interrupted, |rows| {
                let tokens: Vec<usize> = rows
                    .iter()
                    .flat_map(|&row| {
                        let first = owner[row] * (prefix + self.patches());
                        let patches = kept.row(row).into_iter().enumerate().filter(|&(_, &kept)| kept);
                        let patches: Vec<_> = patches.map(move |(patch, _)| first + prefix + patch).collect();
                        (first..first + prefix).chain(patches)
                    })
                    .collect();
                self.finish(from, rows.len(), level.gather(&tokens, self.width), None)
            })?;
            for (row, some) in rows.into_iter().zip(some.outer_iter()) {
                logits.row_mut(row).assign(&some);
            }
        }
        Ok(logits)
    }

    /// The same, but all tokens stay, and from block `from` on attention does not see those of absent patches.
    ///
    /// # Errors
    /// As [`Self::dropped`].
    pub fn masked(
        &self,
        tokens: &Tokens,
        owner: &[usize],
        kept: ArrayView2<'_, bool>,
        from: usize,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Array2<f32>> {
        self.check_coalitions(tokens, owner, kept, from)?;
        if owner.is_empty() {
            // Of no images there is no level either.
            return Ok(Array2::zeros((0, self.classes())));
        }
        let (level, prefix) = (self.level_of(tokens, from), self.prefix());
        let tokens = prefix + self.patches();
        let rows: Vec<usize> = (0..owner.len()).collect();
        self.in_chunks(&rows, tokens, interrupted, |rows| {
            let all: Vec<usize> =
                rows.iter().flat_map(|&row| owner[row] * tokens..(owner[row] + 1) * tokens).collect();
            let seen: Vec<bool> = rows
                .iter()
                .flat_map(|&row| std::iter::repeat_n(true, prefix).chain(kept.row(row).to_vec()))
                .collect();
            self.finish(from, rows.len(), level.gather(&all, self.width), Some(&seen))
        })
    }

    /// The logits of `rows`, a group at a time on each thread.
    fn in_chunks(
        &self,
        rows: &[usize],
        tokens: usize,
        interrupted: &dyn Fn() -> bool,
        work: impl Fn(&[usize]) -> Vec<f32> + Sync,
    ) -> Result<Array2<f32>> {
        let cost = self.cost(tokens);
        cost.require(rows.len())?;
        let mut logits = Vec::with_capacity(rows.len() * self.classes());
        for part in rows.chunks(cost.group * parallel::threads()) {
            if interrupted() {
                return Err(Error::Interrupted);
            }
            let share = part.len().div_ceil(parallel::threads());
            let some: Vec<Vec<f32>> = parallel::install(|| part.par_chunks(share).map(&work).collect());
            logits.extend(some.concat());
        }
        Ok(Array2::from_shape_vec((rows.len(), self.classes()), logits).expect("a row for each"))
    }

    /// What goes into block `from` when all patches are present.
    fn level_of(&self, tokens: &Tokens, from: usize) -> Arc<Level> {
        if let Some(level) = tokens.levels.get(from) {
            return level;
        }
        let first = tokens.levels.get(0).expect("it is made with the tokens");
        let level = Level { x: first.x.clone(), q: first.q.clone(), kv: first.kv.clone() };
        let level = parallel::install(|| self.level(from, self.run((0, from), tokens.images, level, None)));
        tokens.levels.insert(from, level)
    }

    fn check_coalitions(
        &self,
        tokens: &Tokens,
        owner: &[usize],
        kept: ArrayView2<'_, bool>,
        from: usize,
    ) -> Result<()> {
        let (rows, patches) = kept.dim();
        if (rows, patches) != (owner.len(), self.patches()) {
            let expected = format!("shape ({}, {})", owner.len(), self.patches());
            let cure = "pass a column for each patch, and a row for each owner";
            return Err(Error::argument("kept", expected, format!("shape ({rows}, {patches})"), cure));
        }
        if let Some(owner) = owner.iter().find(|&&owner| owner >= tokens.images) {
            let expected = format!("below {}", tokens.images);
            return Err(Error::argument("owner", expected, owner, "index into the images"));
        }
        let depth = self.depth();
        if from >= depth {
            let expected = format!("a block below {depth}");
            return Err(Error::argument("from_layer", expected, from, "count the blocks from 0"));
        }
        Ok(())
    }

    /// Logits of coalitions from what goes into block `from`.
    fn finish(&self, from: usize, images: usize, level: Level, seen: Option<&[bool]>) -> Vec<f32> {
        // Without class token and patches there is no token, and the mean of none is zero.
        let x =
            if level.x.is_empty() { level.x } else { self.run((from, self.depth()), images, level, seen) };
        self.head(x, images)
    }
}

impl Level {
    /// The rows `tokens` of all images.
    fn gather(&self, tokens: &[usize], width: usize) -> Self {
        let take = |values: &[f32], width: usize| -> Vec<f32> {
            let mut out = Vec::with_capacity(tokens.len() * width);
            for &token in tokens {
                out.extend_from_slice(&values[token * width..(token + 1) * width]);
            }
            out
        };
        Self { x: take(&self.x, width), q: take(&self.q, width), kv: take(&self.kv, 2 * width) }
    }
}

impl Levels {
    pub(super) fn get(&self, index: usize) -> Option<Arc<Level>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }

    pub(super) fn insert(&self, index: usize, level: Level) -> Arc<Level> {
        let mut levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        levels.entry(index).or_insert_with(|| Arc::new(level)).clone()
    }
}
