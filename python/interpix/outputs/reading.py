"""Which output a model has: as given, or by the number of its columns."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from interpix.errors import bad_type
from interpix.options import make_named
from interpix.outputs.base import Output
from interpix.outputs.boxes import Boxes
from interpix.outputs.classes import Probabilities, Sigmoid, Softmax
from interpix.outputs.numbers import Value

__all__ = ["OutputInput", "output_for", "read_output"]

OutputInput: TypeAlias = Output | str
"""An output; its name, with options in brackets, as `"value(tolerance=2)"`; or `"auto"`."""

_NAMED: Mapping[str, Callable[..., Output]] = {one.name: one for one in (Softmax, Sigmoid, Probabilities, Value, Boxes)}
"""Those whose options are words and numbers."""


def read_output(output: object) -> Output | None:
    """The output that is meant; None for `"auto"`, which depends on what the model answers.

    >>> read_output("sigmoid(threshold=0.3)"), read_output("auto")
    (Sigmoid(threshold=0.3), None)
    """
    if isinstance(output, Output):
        return output
    if isinstance(output, str):
        return None if output.strip() == "auto" else make_named("output", output, _NAMED)
    cure = "interpix.outputs.Sigmoid(), for example" + (", with brackets" if isinstance(output, type) else "")
    raise bad_type("output", "an object of interpix.outputs, or its name", output, cure)


def output_for(output: Output | None, columns: int) -> Output:
    """The output of a model that answers with so many columns: as given, else by them.

    >>> output_for(None, 1000), output_for(None, 1)
    (Softmax(), Sigmoid(threshold=0.5))
    """
    if output is not None:
        return output
    return Softmax() if columns > 1 else Sigmoid()
