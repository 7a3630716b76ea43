"""A model of numbers, by hand and in torch, and what its numbers may mean."""

import numpy as np
import torch

from interpix import outputs

HEIGHT, WIDTH, LABELS, EMBEDDED = 4, 6, 3, 5
WEIGHTS = np.random.default_rng(7).normal(size=(EMBEDDED, 3 * HEIGHT * WIDTH)).astype(np.float32)
IMAGE = np.random.default_rng(8).normal(size=(3, HEIGHT, WIDTH)).astype(np.float32)
REGIONS = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 6
REFERENCES = np.random.default_rng(9).normal(size=(3, EMBEDDED))


def numbers(batch):
    """Not linear, so that patches depend on each other."""
    return np.tanh(batch.reshape(len(batch), -1) @ WEIGHTS.T * 0.4) * 4 + 0.3


def labels(batch):
    return numbers(batch)[:, :LABELS]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Numbers(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(WEIGHTS))
        self.columns = columns

    def forward(self, batch):
        return (torch.tanh(batch.flatten(1) @ self.weights.T * 0.4) * 4 + 0.3)[:, : self.columns]


def cosines(rows):
    return rows @ REFERENCES.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(REFERENCES, axis=1)


def lead(rows, target):
    return rows[:, target] - np.delete(rows, target, axis=1).max(axis=1)


class First(outputs.Output):
    """A user's own: is the same document still first, and by how much?"""

    name = "first"

    def reward(self, rows, target, whole):
        return lead(rows, target)

    def holds(self, rows, target, whole):
        return lead(rows, target) > 0
