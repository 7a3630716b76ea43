"""What results say, in plain words: titles of pictures, and lines of the command."""

from interpix.outputs.base import describe
from interpix.results.explanation import Explanation

__all__ = ["claim_of", "group_title", "photo_title", "verb_of"]

_HALF = 0.5


def photo_title(result: Explanation) -> str:
    """What the model says of the whole image, in plain words.

    >>> import numpy as np
    >>> import interpix as ix
    >>> moxi = ix.MoXI(lambda batch: batch.mean(axis=(1, 2, 3))[:, None], output=ix.outputs.Sigmoid(), regions="1x2")
    >>> photo_title(moxi.explain(np.ones((3, 2, 4), np.float32)))
    "The model sees this and says 'class 0' on its own (p = .73)"
    """
    said = describe(result.output, result.full.answer)
    target = result.name_of(result.target)
    if not result.output["exclusive"]:
        verb = f"{verb_of(result)}s" if result.full.holds else f"does not {verb_of(result)}"
        return f"The model sees this and {verb} {claim_of(result)} ({said})"
    if result.prediction == result.target:
        return f"The model sees this and answers {target!r} ({said})"
    return f"The model answers {result.name_of(result.prediction)!r}; asked about {target!r} ({said})"


def verb_of(result: Explanation) -> str:
    """What the model does with what is explained.

    >>> import numpy as np
    >>> import interpix as ix
    >>> result = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").explain(np.ones((3, 2, 4), np.float32))
    >>> verb_of(result)
    'say'
    """
    return str(result.output.get("verb", "say"))


def claim_of(result: Explanation) -> str:
    """What is explained, in words.

    >>> import numpy as np
    >>> import interpix as ix
    >>> result = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2").explain(np.ones((3, 2, 4), np.float32))
    >>> claim_of(result)
    "the answer 'class 0'"
    """
    return str(result.output.get("claim", f"the answer {result.name_of(result.target)!r}"))


def group_title(result: Explanation) -> str:
    """What the group means, in plain words.

    >>> import numpy as np
    >>> import interpix as ix
    >>> image = np.zeros((3, 4, 6), np.float32)
    >>> image[0, 2:, :2], image[1, :2, 2:4] = 3, 2
    >>> moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    >>> result = moxi.explain(image, direction="deletion")
    >>> group_title(result)
    "Without this 1 of 6 patches the answer is no longer 'class 0' but 'class 1'"
    """
    if result.direction == "both":
        return _both(result)
    if result.direction == "insertion":
        return _sufficient(result)
    return _contrasted(result) if result.removed_before else _needed(result)


def _sufficient(result: Explanation) -> str:
    claim, score, count, players = claim_of(result), result.group_score, *_counts(result)
    if score is None:
        return f"No group of up to {len(result.ranking)} patches was found that is enough for {claim}"
    if count == 0:
        return f"An empty image is enough for {claim} already: no patch is needed"
    these = "This 1 of" if count == 1 else f"These {count} of"
    verb = "is" if count == 1 else "are"
    enough = f"{these} {players} patches {verb} enough for {claim}"
    # Of many classes one may be the answer with a small probability; what beats a rival need not be the answer.
    is_answer = result.output["exclusive"] and score.predicted == result.target
    still = ", still the most probable" if is_answer and score.answer < _HALF else ""
    return f"{enough} ({describe(result.output, score.answer)}{still}){_minimal(result)}"


def _both(result: Explanation) -> str:
    """Of patches that suffice and are needed."""
    claim, score, without, count = claim_of(result), result.group_score, result.group_score_without, len(result.group)
    if score is None or without is None:
        tried = len(result.ranking)
        return f"No group of up to {tried} patches was found that is enough for {claim} and needed for it"
    if count == 0:
        return f"An empty image is enough for {claim} already, and the photo is not"
    these = "This 1 of" if count == 1 else f"These {count} of"
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    enough = f"{these} {result.players} patches {verb} enough for {claim} ({describe(result.output, score.answer)})"
    if result.output["exclusive"]:
        return f"{enough}; without {them} it is {result.name_of(without.predicted)!r}{_minimal(result)}"
    said = describe(result.output, without.answer)
    return f"{enough}; without {them} the model no longer {verb_of(result)}s it ({said}){_minimal(result)}"


def _needed(result: Explanation) -> str:
    target, score, count, players = repr(result.name_of(result.target)), result.group_score, *_counts(result)
    if not result.output["exclusive"]:
        return _needed_alone(result)
    if score is None:
        return f"The answer stays {target} without the {len(result.ranking)} patches that were tried"
    instead = repr(result.name_of(score.predicted))
    if count == 0:
        return f"The answer is {instead}, not {target}, with all patches already"
    these = "this 1 of" if count == 1 else f"these {count} of"
    return f"Without {these} {players} patches the answer is no longer {target} but {instead}{_minimal(result)}"


def _needed_alone(result: Explanation) -> str:
    """The same where no other answer takes the place of what is explained."""
    claim, score, count, players = claim_of(result), result.group_score, *_counts(result)
    if score is None:
        return f"The model still {verb_of(result)}s {claim} without the {len(result.ranking)} patches that were tried"
    said = describe(result.output, score.answer)
    if count == 0:
        return f"The model does not {verb_of(result)} {claim} with all patches ({said})"
    these, verb = "this 1 of" if count == 1 else f"these {count} of", f"{verb_of(result)}s"
    return f"Without {these} {players} patches the model no longer {verb} {claim} ({said}){_minimal(result)}"


def _counts(result: Explanation) -> tuple[int, int]:
    """Patches of the group, and of the image."""
    return len(result.group), result.players


def _minimal(result: Explanation) -> str:
    return "; none of them can be left out" if result.minimal_group is not None and len(result.group) > 1 else ""


def _contrasted(result: Explanation) -> str:
    target, gone = repr(result.name_of(result.target)), len(result.removed_before)
    # Where several labels may be right at once, classes are compared all the same.
    what = "the answer" if result.output["exclusive"] else "the most probable label"
    if result.predicted[0] != result.target:
        return f"{what.capitalize()} never becomes {target} while patches are taken away one by one"
    light = "1 patch (light) is" if gone == 1 else f"{gone} patches (light) are"
    once = f"Once {light} taken away {what} is {target}"
    if not result.group:
        return f"{once}, and stays it without any patch"
    numbered = "the numbered one" if len(result.group) == 1 else f"the {len(result.group)} numbered ones"
    return f"{once}; it needs {numbered}"
