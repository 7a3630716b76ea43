"""A result in a notebook that answers back: the same drawing as the page's, and a model that can be asked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from interpix.errors import InterpixError, MissingDependencyError, bad_type, bad_value
from interpix.page import check_together, page_data, page_source
from interpix.results.explanation import Explanation
from interpix.search.games import ImageGame

if TYPE_CHECKING:
    import anywidget

__all__ = ["widget"]

_NEARLY = 1e-3
"""Answers of the same model to the same picture in batches of other sizes differ by less."""


def widget(*results: Explanation, game: ImageGame | None = None) -> "anywidget.AnyWidget":
    """Results as a widget: a slider over the steps, and patches that can be taken away and put back.

    A coalition that was scored shows its answer. With `game` the model can be asked about any other:

        moxi = ix.MoXI(model, keep_coalitions=True)
        ix.widget(moxi.explain("cat.jpg"), game=moxi.game("cat.jpg"))

    >>> from interpix import MoXI
    >>> image = np.ones((3, 2, 4), np.float32)
    >>> moxi = MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="1x2")
    >>> shown = widget(moxi.explain(image), game=moxi.game(image))
    >>> shown.live, len(shown.data["patches"])
    (True, 2)

    Args:
        results: Of one image and one target: an insertion and a deletion, say; they stand side by side.
        game: What `MoXI.game` makes of the same image and target. None: only what was scored is known.

    Raises:
        MissingDependencyError: anywidget is not installed.
        ArgumentError: The results do not belong together, or the game is of another image, model or target.
    """
    check_together(results)
    if game is not None:
        _check_game(results[0], game)
    made = _widget_class()(data=page_data(results), live=game is not None)
    if game is not None:
        asked = game

        def answer(_widget: object, message: Mapping[str, Any], _buffers: object) -> None:
            if message.get("kind") == "ask":
                made.send({"number": message["number"], **_reply(results[0], asked, message["present"])})

        made.on_msg(answer)
    return made


def _widget_class() -> Any:
    try:
        import anywidget  # optional
        import traitlets
    except ImportError as error:
        message = 'the widget needs anywidget: pip install "interpix[widget]"'
        raise MissingDependencyError(message) from error

    class ExplanationWidget(anywidget.AnyWidget):  # type: ignore[misc]
        _esm = page_source("js")
        _css = page_source("css")
        data = traitlets.Dict().tag(sync=True)
        live = traitlets.Bool(default_value=False).tag(sync=True)

    return ExplanationWidget


def _check_game(result: Explanation, game: ImageGame) -> None:
    if not isinstance(game, ImageGame):
        raise bad_type("game", "what MoXI.game returns", game, "pass game=moxi.game(image)")
    if result.provenance.get("rival") is not None or (result.removed_before and not result.output["exclusive"]):
        need = "None for a result that compares two classes, as a game asks about one"
        raise bad_value("game", need, "a game", "leave it out")
    cure = "make it of the result's own model, image and target: game=moxi.game(image, target)"
    for name, same in (
        ("target", game.target == result.target),
        ("patches", np.array_equal(game.regions, result.regions)),
        (
            "answer to the whole image",
            abs(game.full.answer - result.full.answer) <= _NEARLY * max(1, abs(result.full.answer)),
        ),
    ):
        if not same:
            raise bad_value("game", "the game that the result is of", f"one with another {name}", cure)


def _reply(result: Explanation, game: ImageGame, present: Any) -> dict[str, Any]:
    """What the model says to the patches `present`, or why it says nothing."""
    mask = np.zeros((1, game.n_players), bool)
    try:
        mask[0, np.array(present, np.int64)] = True
        score = game.scores(mask).rows()[0]
    except (InterpixError, IndexError, ValueError, TypeError) as error:
        return {"kind": "failed", "message": str(error)}
    said = {"answer": score.answer, "predicted": score.predicted, "holds": score.holds}
    named = {"name": result.name_of(score.predicted)} if score.predicted >= 0 else {}
    return {"kind": "answer", "score": said | named}
