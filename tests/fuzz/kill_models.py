"""What the processes that `kill_evaluate.py` starts import: a small model, and a log of each image that is begun."""

import os

import numpy as np

import interpix as ix
from interpix.evaluation.worker import Worker


def logits(batch):
    left, right = batch[..., :16], batch[..., 16:]
    return np.stack(
        [9 * left[:, 0].mean((1, 2)), 9 * right[:, 1].mean((1, 2)), 6 * batch[:, 2].mean((1, 2)) + 2], axis=1
    )


def preprocess(raw):
    return np.ascontiguousarray(raw.transpose(2, 0, 1), np.float32) / np.float32(255)


def model():
    return ix.CallableClassifier(logits, name="halves", preprocess=preprocess)


_score = Worker._score


def logged(self, item, attempt):
    with open(os.environ["KILL_LOG"], "a") as file:  # noqa: PTH123 - appended to by many
        file.write(f"{item.id}\n")
    return _score(self, item, attempt)


if "KILL_LOG" in os.environ:
    Worker._score = logged
