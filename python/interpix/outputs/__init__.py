"""What a model says, and whether it still says so: classes, labels, numbers, embeddings, boxes, segments.

A search, a method or a metric asks a model about many pictures, and its `Output` says what the answers mean: what to
compare, and when the model still says what it says of the whole image. Without one it is a `Softmax` over two or more
logits, and a `Sigmoid` of a single one; the result says which.
"""

from interpix.outputs.base import Output
from interpix.outputs.boxes import Boxes
from interpix.outputs.classes import Probabilities, Sigmoid, Softmax
from interpix.outputs.numbers import Similarity, Value
from interpix.outputs.reading import OutputInput, output_for, read_output
from interpix.outputs.segments import Segments
from interpix.terms import Box

__all__ = [
    "Box",
    "Boxes",
    "Output",
    "OutputInput",
    "Probabilities",
    "Segments",
    "Sigmoid",
    "Similarity",
    "Softmax",
    "Value",
    "output_for",
    "read_output",
]
