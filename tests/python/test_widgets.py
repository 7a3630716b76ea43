"""The widget's Python half: the kernel's answers to what the notebook asks."""

import sys

import numpy as np
import pytest

import interpix as ix

pytest.importorskip("anywidget")

NAMES = ["red", "green", "blue"]
MODEL = ix.CallableClassifier(lambda batch: 9 * batch.mean(axis=(2, 3)), name="means", class_names=NAMES)


@pytest.fixture
def image():
    return np.random.default_rng(3).random((3, 6, 12)).astype(np.float32)


def asked(widget, *messages):
    """What the widget sends when the notebook sends these."""
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    for message in messages:
        widget._handle_custom_msg(message, [])
    return sent


def test_the_model_is_asked_about_any_patches(image):
    moxi = ix.MoXI(MODEL, regions="3x4")
    widget = ix.widget(moxi.explain(image, 0), game=moxi.game(image, 0))
    (reply,) = asked(widget, {"kind": "ask", "number": 7, "present": [1, 6]})
    picture = np.zeros_like(image)
    picture[:, 0:2, 3:6], picture[:, 2:4, 6:9] = image[:, 0:2, 3:6], image[:, 2:4, 6:9]
    logits = 9 * picture.mean(axis=(1, 2))
    shares = np.exp(logits) / np.exp(logits).sum()
    assert (reply["kind"], reply["number"]) == ("answer", 7)
    score = reply["score"]
    assert score["answer"] == pytest.approx(shares[0], abs=1e-6)
    assert (score["predicted"], score["name"]) == (logits.argmax(), NAMES[logits.argmax()])


def test_a_question_that_cannot_be_answered_says_why(image):
    moxi = ix.MoXI(MODEL, regions="3x4")
    widget = ix.widget(moxi.explain(image, 0), game=moxi.game(image, 0))
    wrong, broken = asked(
        widget,
        {"kind": "ask", "number": 1, "present": [99]},
        {"kind": "ask", "number": 2, "present": "x"},
    )
    assert (wrong["kind"], wrong["number"]) == ("failed", 1)
    assert (broken["kind"], broken["number"]) == ("failed", 2)
    assert wrong["message"]


def test_without_a_game_nothing_is_asked(image):
    widget = ix.widget(ix.MoXI(MODEL, regions="3x4").explain(image, 0))
    assert widget.live is False
    assert asked(widget, {"kind": "ask", "number": 1, "present": [0]}) == []


def test_a_game_of_something_else_is_refused(image):
    moxi = ix.MoXI(MODEL, regions="3x4")
    found = moxi.explain(image, 0)
    for game, name in (
        (moxi.game(image, 1), "target"),
        (ix.MoXI(MODEL, regions="2x4").game(image, 0), "patches"),
        (moxi.game(image / 2, 0), "answer to the whole image"),
    ):
        with pytest.raises(ix.ArgumentError, match=f"got one with another {name}; make it of"):
            ix.widget(found, game=game)
    with pytest.raises(ix.ArgumentTypeError, match=r"pass game=moxi.game\(image\)"):
        ix.widget(found, game=moxi)


def test_without_anywidget_it_says_what_to_install(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ix.MissingDependencyError, match=r'pip install "interpix\[widget\]"'):
        ix.widget(ix.MoXI(MODEL, regions="3x4").explain(image, 0))
