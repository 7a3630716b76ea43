"""Which output a model has: as given, or by the number of its columns."""

from typing import Literal, TypeAlias, get_args

from interpix.errors import bad_type, bad_value
from interpix.outputs.base import Output
from interpix.outputs.classes import Probabilities, Sigmoid, Softmax

__all__ = ["OutputInput", "output_for", "read_output"]

_Word: TypeAlias = Literal["auto", "softmax", "sigmoid", "probabilities"]
OutputInput: TypeAlias = Output | _Word
"""An output, the name of one that needs no options, or `"auto"`."""

_WORDS: dict[str, Output] = {"softmax": Softmax(), "sigmoid": Sigmoid(), "probabilities": Probabilities()}


def read_output(output: object) -> Output | None:
    """The output that is meant; None for `"auto"`, which depends on what the model answers.

    >>> read_output("sigmoid"), read_output("auto")
    (Sigmoid(threshold=0.5), None)
    """
    if isinstance(output, Output):
        return output
    if isinstance(output, str):
        if output == "auto":
            return None
        if output in _WORDS:
            return _WORDS[output]
        words = ", ".join(f'"{word}"' for word in get_args(_Word))
        cure = "others have options: interpix.outputs.Value(tolerance=2), for example"
        raise bad_value("output", f"one of {words}, or an object of interpix.outputs", repr(output), cure)
    cure = "interpix.outputs.Sigmoid(), for example" + (", with brackets" if isinstance(output, type) else "")
    raise bad_type("output", "an object of interpix.outputs, or its name", output, cure)


def output_for(output: Output | None, columns: int) -> Output:
    """The output of a model that answers with so many columns: as given, else by them.

    >>> output_for(None, 1000), output_for(None, 1)
    (Softmax(), Sigmoid(threshold=0.5))
    """
    if output is not None:
        return output
    return _WORDS["softmax" if columns > 1 else "sigmoid"]
