"""The model-randomization sanity check (Adebayo et al., NeurIPS 2018).

A map that explains a model should change when all that the model learned is drawn anew. Measured by Spearman's rank
correlation of the maps' absolute values; near 0 is good, near 1 says that the map does not depend on the model.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from interpix.checks import check_seed
from interpix.errors import bad_type, bad_value
from interpix.metrics.base import mid_ranks, read_attribution
from interpix.metrics.sample import Sample
from interpix.models.adapters.adapt import is_torch
from interpix.models.protocol.classifier import Classifier
from interpix.options import python_number
from interpix.question import Explainer, explain_with
from interpix.results.scores import ImageScore, Summary, summarize

if TYPE_CHECKING:
    import torch

    from interpix.models.adapters.torch import TorchClassifier


from interpix.arrays import AnyArray
from interpix.results.attribution import MapInput

__all__ = ["MakeMap", "ModelRandomization", "model_randomization", "reinitialize", "spearman"]

MakeMap: TypeAlias = Callable[["torch.nn.Module"], Any]
"""From a module to its map (H, W), always of the same image and class."""

# Of Vision Transformers' class tokens and position embeddings when their training starts.
_RAW_STD = 0.02


def spearman(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Spearman's rank correlation of two arrays of one size, mid-ranks for ties; NaN if one is constant.

    >>> spearman(np.array([1, 2, 3]), np.array([10, 30, 20]))
    0.5
    """
    mine, others = (mid_ranks(values) - (values.size + 1) / 2 for values in (first, second))
    length = float(np.sqrt((mine**2).sum() * (others**2).sum()))
    return float(mine @ others) / length if length > 0 else float("nan")


def reinitialize(module: "torch.nn.Module", seed: int) -> "torch.nn.Module":
    """A copy of `module` that has learned nothing, drawn from `seed`; torch's own generator is left as it was.

    Layers are initialized in torch's way. Parameters that belong to no layer that can do so, such as class token
    and position embedding, are drawn from a normal distribution of standard deviation 0.02.

    >>> import torch
    >>> layer = torch.nn.Linear(3, 2)
    >>> fresh = reinitialize(layer, seed=0)
    >>> bool((fresh.weight == layer.weight).any()), bool((fresh.weight == reinitialize(layer, seed=0).weight).all())
    (False, True)
    """
    import torch  # optional

    fresh = copy.deepcopy(module)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        # Raw parameters first: a layer may hold its own together with those of its parts.
        raw = [part for part in fresh.modules() if _reset_of(part) is None]
        for part in raw:
            for parameter in part.parameters(recurse=False):
                parameter.normal_(0, _RAW_STD)
        for part in reversed(list(fresh.modules())):
            reset = _reset_of(part)
            if reset is not None:
                reset()
    return fresh


def model_randomization(
    make_map: MakeMap, module: "torch.nn.Module", *, seeds: Sequence[int] = (0, 1, 2)
) -> ImageScore:
    """Correlation of a map of the trained module with maps of re-initialized ones, mean over `seeds`.

    A map that does not look at the module does not change with it:

    >>> import numpy as np
    >>> import torch
    >>> model_randomization(lambda module: np.arange(6.0).reshape(2, 3), torch.nn.Linear(3, 2)).value
    1.0

    Args:
        make_map: From a module to its map (H, W) of one image and one class: the class that the trained module
            predicts, for the re-initialized ones, too.
        module: The trained module; it is not changed.
        seeds: One re-initialization for each.
    """
    seeds = _read_seeds(seeds)
    trained = _absolute(make_map(module))
    correlations = {seed: spearman(trained, _absolute(make_map(reinitialize(module, seed)))) for seed in seeds}
    constant = any(np.isnan(value) for value in correlations.values())
    return ImageScore(
        metric="model_randomization",
        value=float(np.mean(list(correlations.values()))),
        higher_is_better=None,
        skipped="a map is constant" if constant else None,
        parts={f"seed {seed}": value for seed, value in correlations.items()},
        options={"seeds": tuple(seeds)},
    )


def _read_seeds(seeds: object) -> tuple[int, ...]:
    need, cure = "at least one seed", "(0, 1, 2) is usual"
    if isinstance(seeds, str) or not isinstance(seeds, Sequence | np.ndarray):
        raise bad_type("seeds", need, seeds, cure)
    found = tuple(map(python_number, seeds))
    if not found:
        raise bad_value("seeds", need, "none", cure)
    for seed in found:
        check_seed("seeds", seed)
    return found


@dataclass(frozen=True)
class ModelRandomization:
    """The sanity check as a metric of a method, not of a map; torch modules only.

    A map that does not look at the model does not change with it:

    >>> import interpix as ix
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 2))
    >>> blind = ix.propagated(lambda model, image, target: image[0], radius=1)
    >>> image = np.arange(72, dtype=np.float32).reshape(3, 4, 6)
    >>> sample = Sample.of(model, image)
    >>> ModelRandomization().score_method(sample, blind, blind.explain(model, image).map).value
    1.0

    Attributes:
        seeds: One re-initialization for each.
    """

    seeds: tuple[int, ...] = (0, 1, 2)

    name = "model_randomization"
    higher_is_better = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", _read_seeds(self.seeds))

    def check_model(self, classifier: Classifier) -> None:
        """Refuses, before any work, what cannot be re-initialized."""
        _randomized(classifier)

    def score_method(self, sample: Sample, method: Explainer, attribution: MapInput) -> ImageScore:
        """The correlation of a map (H, W) with those that the method makes of re-initialized modules.

        Args:
            sample: The image with the trained model.
            method: Whose map.
            attribution: The map of the trained model.
        """
        classifier = _randomized(sample.classifier)
        if getattr(method, "has_own_model", False):
            reason = "the method's object has a model of its own"
            return ImageScore(self.name, float("nan"), self.higher_is_better, skipped=reason)

        def make_map(module: "torch.nn.Module") -> Any:
            if module is classifier.module:
                return attribution
            return explain_with(method, sample.asked_of(classifier.with_module(module))).map

        return model_randomization(make_map, classifier.module, seeds=self.seeds)

    def aggregate(self, scores: Sequence[ImageScore]) -> Summary:
        """Mean over images."""
        return summarize(scores)


def _absolute(attribution: AnyArray) -> npt.NDArray[np.float64]:
    size = tuple(attribution.shape[-2:])
    return np.abs(read_attribution(attribution, size))


def _reset_of(part: "torch.nn.Module") -> Callable[[], None] | None:
    """The method that initializes a layer; torch's attention hides its own behind an underscore."""
    for name in ("reset_parameters", "_reset_parameters"):
        reset = getattr(part, name, None)
        if callable(reset):
            return reset  # type: ignore[no-any-return]
    return None


def _randomized(classifier: Classifier) -> "TorchClassifier":
    if is_torch(classifier):
        return classifier
    cure = "leave model_randomization out"
    raise bad_value("model", "a torch module, which can be re-initialized", f"`{classifier.name}`", cure)
