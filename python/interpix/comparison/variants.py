"""What is scored of each method: its map, IProp of it, and controls; and how one map is scored by all metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from interpix.errors import bad_value
from interpix.methods.controls import Blurred, Edges, Random
from interpix.methods.propagated import Propagated
from interpix.metrics.base import AnyMetric, MethodMetric
from interpix.metrics.sample import Sample
from interpix.metrics.shared_scores import score_map
from interpix.question import Explainer, explain_with
from interpix.results.attribution import Attribution
from interpix.results.scores import ImageScore

__all__ = ["Variant", "controls_of", "make_map", "make_variants", "score_variant"]


@dataclass(frozen=True)
class Variant:
    """One map of each image that is scored.

    Attributes:
        name: In tables.
        method: The name of the method that it is of, IProp or not.
        explainer: What makes it.
        source: The name of the variant whose map it is made from; None: from the model.
        control: Whether it knows nothing of the model, or is the plain blur of a method's map.
    """

    name: str
    method: str
    explainer: Explainer
    source: str | None = None
    control: bool = False

    @property
    def propagated(self) -> bool:
        """Whether it is IProp of another."""
        return isinstance(self.explainer, Propagated)


def make_variants(explainers: Mapping[str, Explainer], *, propagate: bool, controls: bool) -> list[Variant]:
    """What is scored, in the order of tables: each method, IProp of it, its blur; then the controls of all.

    >>> from interpix.comparison.specs import read_methods
    >>> [one.name for one in make_variants(read_methods("moxi"), propagate=True, controls=True)]
    ['moxi', 'IProp(moxi)', 'blur(moxi)', 'random', 'IProp(random)', 'edges']

    Raises:
        ArgumentError: Two would have one name.
    """
    found: list[Variant] = []

    def add(name: str, explainer: Explainer, *, control: bool, blur: bool) -> None:
        found.append(Variant(name, name, explainer, control=control))
        if propagate and not isinstance(explainer, Propagated):
            found.append(Variant(f"IProp({name})", name, Propagated(explainer), name, control))
            if blur:
                found.append(Variant(f"blur({name})", f"blur({name})", Blurred(explainer), name, control=True))

    for name, explainer in explainers.items():
        is_control = isinstance(explainer, Random | Edges | Blurred)
        add(name, explainer, control=is_control, blur=controls and not is_control)
    if controls:
        if not any(isinstance(one, Random) for one in explainers.values()):
            add("random", Random(), control=True, blur=False)
        if not any(isinstance(one, Edges) for one in explainers.values()):
            found.append(Variant("edges", "edges", Edges(), control=True))
    names = [one.name for one in found]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        got = f"{doubled} twice, which is scored with the methods"
        raise bad_value("methods", "each name once", got, "pass a dict with names of your own, or propagate=False")
    return found


def controls_of(variant: Variant, variants: list[Variant]) -> list[str]:
    """The controls that a variant must beat: a plain map noise and edges; IProp that of noise, and a plain blur.

    >>> from interpix.comparison.specs import read_methods
    >>> made = make_variants(read_methods("moxi"), propagate=True, controls=True)
    >>> controls_of(made[0], made), controls_of(made[1], made), controls_of(made[3], made)
    (['random', 'edges'], ['IProp(random)', 'blur(moxi)'], [])
    """
    if variant.control:
        return []
    wanted: list[str] = []
    for other in variants:
        root = other.explainer.method if isinstance(other.explainer, Propagated) else other.explainer
        same_kind = isinstance(root, Random | Edges) and other.propagated == variant.propagated
        own_blur = variant.propagated and isinstance(other.explainer, Blurred) and other.source == variant.source
        if other.control and (same_kind or (own_blur and variant.source is not None)):
            wanted.append(other.name)
    return sorted(wanted, key=lambda name: name.startswith("blur("))


def make_map(variant: Variant, sample: Sample, source: Attribution | None) -> Attribution:
    """The map of a variant, from that of its source if it has one."""
    if source is None:
        return explain_with(variant.explainer, sample)
    if isinstance(variant.explainer, Propagated):
        return variant.explainer.propagate(source)
    return variant.explainer.blur(source) if isinstance(variant.explainer, Blurred) else source


def score_variant(
    sample: Sample, explainer: Explainer, attribution: Attribution, metrics: Mapping[str, AnyMetric]
) -> dict[str, ImageScore]:
    """What all metrics say to one map, in their order; a metric that needs an annotation skips an image without one."""

    def blind(metric: AnyMetric) -> bool:
        return sample.annotation is None and getattr(metric, "needs_annotation", False)

    maps = {name: one for name, one in metrics.items() if not isinstance(one, MethodMetric) and not blind(one)}
    scores = score_map(sample, attribution.map, maps)
    for name, metric in metrics.items():
        if isinstance(metric, MethodMetric):
            scores[name] = metric.score_method(sample, explainer, attribution.map)
        elif blind(metric):
            better = metric.higher_is_better
            scores[name] = ImageScore(metric.name, float("nan"), better, skipped="there is no mask")
    return {name: scores[name] for name in metrics}
