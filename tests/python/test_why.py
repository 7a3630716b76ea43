"""How sure a group is, and why one class and not another."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import interpix as ix
from interpix.plots import plot_stability
from interpix.results import load_all, save_all
from interpix.words import group_title
from test_groups import QUIET, Table
from torch_models import convolutions, picture, vit


@QUIET
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_insertion_contrast_in_plain_words(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    game = Table(rng, data.draw(st.integers(1, 7)), 4, whole=data.draw(st.booleans()))
    target, rival = data.draw(st.permutations(range(4)))[:2]

    def odds(some, one):
        row = game.table[sum(1 << patch for patch in some)].astype(float)
        others = np.delete(row, one)
        return row[one] - np.logaddexp.reduce(others)

    def lead(some):
        return odds(some, target) - odds(some, rival)

    found = ix.MoXI(game, regions=(1, game.players)).contrast(game.image, target, rival, direction="insertion")
    order = []
    for step, patch in enumerate(found.ranking.tolist()):
        np.testing.assert_allclose(found.rewards[step], lead(order), rtol=1e-5, atol=1e-5)
        assert found.holds[step] == (lead(order) > 1e-9) or abs(lead(order)) < 1e-5
        best = max(lead([*order, other]) for other in game.rest(order))
        # Sums of equal numbers in another order are not quite equal.
        assert lead([*order, patch]) == pytest.approx(best, abs=1e-5)
        order.append(patch)
    assert found.stopped_at is None or found.holds[found.stopped_at]
    assert not found.holds[: found.stopped_at].any()
    assert found.full.reward == pytest.approx(lead(range(game.players)), abs=1e-5)


def test_the_rival_is_the_next_class_where_none_is_named():
    game = Table(np.random.default_rng(2), 5, 4)
    whole = np.argsort(-game.table[-1])
    first = ix.MoXI(game, regions=(1, 5)).contrast(game.image, int(whole[0]), direction="insertion")
    other = ix.MoXI(game, regions=(1, 5)).contrast(game.image, int(whole[2]), direction="insertion")
    assert first.provenance["rival"] == whole[1]
    assert other.provenance["rival"] == whole[0]
    said = f"the answer 'class {whole[2]}' rather than 'class {whole[0]}'"
    assert other.output["claim"] == said
    assert said in group_title(other)


COLORS = np.zeros((3, 4, 6), np.float32)
COLORS[0, 2:, :2], COLORS[1, :2, 2:4] = 3, 2


def colors(batch):
    return batch.sum(axis=(2, 3)) + np.array([0.0, 0.0, 0.5])


def test_why_in_words_and_pictures(tmp_path):
    moxi = ix.MoXI(ix.CallableClassifier(colors, class_names=["red", "green", "blue"]), regions="2x3")
    found = moxi.why(COLORS, "red", "green")
    assert found.words().splitlines() == [
        "The model says 'red' (p = .98), not 'green' (p = .02).",
        "1 of 6 patches alone makes it say 'red' rather than 'green'.",
        "Without 1 of 6 patches it says 'green', which then needs 1 other.",
    ]
    assert repr(found) == "<Why 'red' and not 'green'>"
    assert (found.makes_wrong.group, found.hides_right.removed_before, found.hides_right.group) == ((3,), (3,), (1,))
    assert json.loads(json.dumps(found.summary()))["words"] == found.words()
    titles = [ax.get_title().replace("\n", " ") for ax in found.plot(figure=Figure()).axes]
    assert titles[0] == "The model sees this and answers 'red' (p = .98)"
    assert titles[1].startswith("This 1 of 6 patches is enough for the answer 'red' rather than 'green'")
    assert titles[2].startswith("Once 1 patch (light) is taken away the answer is 'green'")
    found.makes_wrong.save(tmp_path / "wrong.safetensors")
    assert ix.load(tmp_path / "wrong.safetensors").output["claim"] == "the answer 'red' rather than 'green'"


def test_why_of_what_is_there_without_the_photo():
    moxi = ix.MoXI(colors, regions="2x3")
    words = moxi.why(COLORS, None, 2).words().splitlines()
    assert words[0] == "The model says 'class 0' (p = .98), not 'class 2' (p < .01)."
    # Once both patches are gone; and then no patch is needed.
    assert words[2] == "Without 2 of 6 patches it says 'class 2', and still does without any patch."
    right = moxi.why(COLORS, 1, 0).words().splitlines()
    assert right[0].startswith("The model says 'class 0'; 'class 1': p = .02, 'class 0': p = .98.")
    assert right[2] == "It says 'class 0' already, which needs 1 of 6 patches."


def test_why_of_what_never_is():
    found = ix.MoXI(lambda batch: colors(batch) - [0, 0, 9], regions="2x3").why(COLORS, None, 2)
    assert found.words().splitlines()[2] == "However many patches are taken away, one by one, it never says 'class 2'."
    assert (
        group_title(found.hides_right) == "The answer never becomes 'class 2' while patches are taken away one by one"
    )


def test_why_says_no_more_than_was_tried():
    """Only both together make it class 0, which no greedy search finds."""

    def pair(batch):
        shown = (batch[:, 0] > 0).reshape(len(batch), -1)
        exact = shown[:, 1] & shown[:, 4] & (shown.sum(axis=1) == 2)
        return np.stack([exact * 2.0 - shown[:, 1] - shown[:, 4], 0.5 + 0 * exact], axis=1)

    words = ix.MoXI(pair, regions="2x3").why(np.ones((3, 2, 3), np.float32), 0, 1).words().splitlines()
    assert words[1] == "However many patches are shown, one by one, it never says 'class 0' rather than 'class 1'."


def test_why_of_a_single_patch_that_hides_the_answer():
    found = ix.MoXI(colors, regions="1x1").why(COLORS, None, 2)
    assert found.hides_right.removed_before == (0,)
    assert (found.hides_right.predicted.tolist(), found.hides_right.holds.tolist()) == ([2], [True])
    assert (
        found.words().splitlines()[2] == "Without 1 of 1 patches it says 'class 2', and still does without any patch."
    )
    title = "Once 1 patch (light) is taken away the answer is 'class 2', and stays it without any patch"
    assert group_title(found.hides_right) == title


def test_labels_that_are_all_right_are_compared_in_other_words():
    image = COLORS.copy()
    image[2, 2:, 4:] = 1
    moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)) - 3, regions="2x3", output=ix.outputs.Sigmoid())
    found = moxi.why(image, None, 1)
    assert found.words().splitlines() == [
        "The model's most probable label is 'class 0' (p > .99), not 'class 1' (p = .99).",
        "1 of 6 patches alone makes it prefer 'class 0' to 'class 1'.",
        "Without 1 of 6 patches it prefers 'class 1', which then needs 1 other.",
    ]
    title = "Once 1 patch (light) is taken away the most probable label is 'class 1'; it needs the numbered one"
    assert group_title(found.hides_right) == title


@pytest.mark.parametrize(
    ("ask", "need"),
    [
        (lambda moxi: moxi.why(COLORS, 0, None), "`right`: expected another class than the wrong one"),
        (lambda moxi: moxi.stability(COLORS, absences="zero"), "`absences`: expected a list of absences"),
        (lambda moxi: moxi.stability(COLORS, absences=COLORS), "`absences`: expected a list of absences"),
        (lambda moxi: moxi.stability(COLORS, absences=3), "`absences`: expected a list of absences"),
        (lambda moxi: moxi.stability(COLORS, absences=[ix.DropTokens()]), "`absences`"),
        (lambda moxi: moxi.stability(COLORS, shift=0).core("x"), "`share`"),
        (lambda moxi: moxi.why(COLORS, 0, 0), "`right`: expected another class than the wrong one"),
        (lambda moxi: moxi.why(COLORS, 0, 9), "`right`"),
        (lambda moxi: moxi.why(COLORS, 9, 0), "`wrong`"),
        (lambda moxi: moxi.why([COLORS, COLORS], 0, 1), "expected one image, got several"),
        (lambda moxi: moxi.contrast(COLORS, 0, 1), "`rival`: expected None unless `direction` is"),
        (lambda moxi: moxi.contrast(COLORS, 0, 0, direction="insertion"), "`rival`: expected another class"),
        (lambda moxi: moxi.contrast(COLORS, 0, "red", direction="insertion"), "`rival`"),
        (lambda moxi: moxi.contrast(COLORS, 0, direction="both"), "`direction`"),
        (lambda moxi: moxi.stability(COLORS, shift=-1), "`shift`: expected a number of pixels"),
        (lambda moxi: moxi.stability(COLORS, absences=["nothing"]), "`absences`"),
        (lambda moxi: moxi.stability([COLORS, COLORS]), "expected one image, got several"),
    ],
)
def test_wrong_questions_are_told(ask, need):
    with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError)) as raised:
        ask(ix.MoXI(colors, regions="2x3"))
    assert need in str(raised.value)


def test_stability_is_the_search_of_each_variant():
    moxi = ix.MoXI(colors, regions="2x3", absence=0.25)
    found = moxi.stability(COLORS, shift=1, absences=[0.0, 0.25, "mean"])
    assert list(found.variants) == [
        "shifted by (-1, 0)",
        "shifted by (1, 0)",
        "shifted by (0, -1)",
        "shifted by (0, 1)",
        "absence 0.0",
        "absence mean",
    ]
    moved = np.concatenate([COLORS[:, :, :1], COLORS[:, :, :-1]], axis=2)
    by_hand = moxi.explain(moved, 0)
    one = found.variants["shifted by (0, 1)"]
    assert (one.group, one.target) == (by_hand.group, 0)
    np.testing.assert_array_equal(one.rewards, by_hand.rewards)
    other = ix.MoXI(colors, regions="2x3", absence="mean").explain(COLORS, 0)
    np.testing.assert_array_equal(found.variants["absence mean"].rewards, other.rewards)
    groups = [one.group for one in (found.explanation, *found.variants.values())]
    frequency = [sum(patch in group for group in groups) / 7 for patch in range(6)]
    np.testing.assert_allclose(found.frequency(), frequency)
    assert found.core() == tuple(patch for patch in range(6) if frequency[patch] == 1)
    assert set(found.core(0.5)) == {patch for patch in range(6) if frequency[patch] >= 0.5}
    np.testing.assert_allclose(found.attribution().map, np.array(frequency, np.float32)[found.explanation.regions])
    assert found.noise == 0
    assert found.unsure_steps == ()
    json.dumps(found.summary())


def test_steps_without_a_lead_are_unsure():
    image = np.ones((3, 4, 6), np.float32)
    moxi = ix.MoXI(lambda batch: np.stack([batch.sum((1, 2, 3)), 0 * batch.sum((1, 2, 3)) + 20], 1), regions="2x3")
    found = moxi.stability(image, shift=0, absences=[])
    assert found.explanation.group == (0, 1)
    # All patches are alike.
    assert found.unsure_steps == (1, 2)
    assert found.variants == {}


@pytest.mark.parametrize(
    ("make", "options"), [(vit, {}), (convolutions, {"regions": ix.Superpixels(9, compactness=300)})]
)
def test_stability_of_real_models(make, options):
    moxi = ix.MoXI(make(), **options)
    found = moxi.stability(picture(0), minimal=True)
    base = found.explanation
    assert 0 <= found.noise < 1e-3
    for one in found.variants.values():
        np.testing.assert_array_equal(one.regions, base.regions)
        assert one.target == base.target
    ax = plot_stability(found, ax=Figure().subplots())
    groups = len(found.variants) + 1
    assert f"in all of {groups} groups" in ax.get_title().replace("\n", " ")
    assert len(ax.texts) == np.count_nonzero(found.frequency())


def test_files_of_why_and_of_stability(tmp_path):
    moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    image = np.random.default_rng(0).random((3, 4, 6), np.float32)
    why, sure = moxi.why(image, 0, 1), moxi.stability(image, 0, absences=["mean", -1])
    assert len(sure.variants) == 6
    why.save(tmp_path / "why.safetensors")
    sure.save(tmp_path / "sure.safetensors")
    again = ix.Why.load(tmp_path / "why.safetensors"), ix.Stability.load(tmp_path / "sure.safetensors")
    assert [one.summary() for one in again] == [why.summary(), sure.summary()]
    assert list(again[1].variants) == list(sure.variants)
    assert again[1].noise == sure.noise
    names = [one.provenance["variant"] for one in load_all(tmp_path / "sure.safetensors")]
    assert names == ["as it is", *sure.variants]
    with pytest.raises(ix.ArgumentError, match="`path`: expected a file of a Why, got"):
        ix.Why.load(tmp_path / "sure.safetensors")
    with pytest.raises(ix.ArgumentError, match="`path`: expected a file of a Stability, got"):
        ix.Stability.load(tmp_path / "why.safetensors")
    # Of two answers, or of part of one.
    other = moxi.why(image, 0, 2)
    save_all(tmp_path / "mixed.safetensors", [why.makes_wrong, other.hides_right])
    save_all(tmp_path / "part.safetensors", list(sure.variants.values()))
    with pytest.raises(ix.ArgumentError, match="a file of a Why"):
        ix.Why.load(tmp_path / "mixed.safetensors")
    with pytest.raises(ix.ArgumentError, match="a file of a Stability"):
        ix.Stability.load(tmp_path / "part.safetensors")
    # Of another picture.
    less = moxi.why(image[:, ::-1].copy(), 0, 1)
    save_all(tmp_path / "mixed.safetensors", [why.makes_wrong, less.hides_right], overwrite=True)
    with pytest.raises(ix.ArgumentError, match="a file of a Why"):
        ix.Why.load(tmp_path / "mixed.safetensors")
    (tmp_path / "notes.txt").write_text("another's")
    for one in (why, sure):
        with pytest.raises(ix.ArgumentError, match="overwrite"):
            one.save(tmp_path / "notes.txt")


def test_files_of_a_stability_that_was_made_or_changed_by_hand(tmp_path):
    moxi = ix.MoXI(lambda batch: batch.sum(axis=(2, 3)), regions="2x3")
    image = np.random.default_rng(0).random((3, 4, 6), np.float32)
    base, less = moxi.explain(image, 0), moxi.explain(image[:, ::-1].copy(), 0)
    made = ix.Stability(explanation=base, variants={"shifted by hand": less}, noise=0.0)
    sure = moxi.stability(image, 0, absences=["mean"])
    fewer = dataclasses.replace(sure, variants=dict(list(sure.variants.items())[:2]), noise=1.0)
    for number, one in enumerate((made, fewer, ix.Stability.of(base, {}, np.float32(0.5)))):
        one.save(tmp_path / f"{number}.safetensors")
        again = ix.Stability.load(tmp_path / f"{number}.safetensors")
        assert again.noise == one.noise
        assert list(again.variants) == list(one.variants)
    for noise in (float("nan"), float("inf"), -1.0, None, "loud"):
        with pytest.raises(ix.ArgumentError, match="`noise`: expected a finite number from 0 on"):
            dataclasses.replace(sure, noise=noise).save(tmp_path / "noise.safetensors")
    with pytest.raises(ix.ArgumentError, match="`variants`: expected other names than 'as it is'"):
        ix.Stability.of(base, {"as it is": less}, 0.0)
    # What no search of one photo gives.
    for others in ({"absence mean": less}, {"shifted": moxi.explain(image, 0, direction="deletion")}):
        mixed = ix.Stability.of(base, others, 0.0)
        with pytest.raises(ix.ArgumentError, match="`variants`: expected results of the same photo"):
            mixed.save(tmp_path / "mixed.safetensors")
        save_all(tmp_path / "mixed.safetensors", [mixed.explanation, *mixed.variants.values()], overwrite=True)
        with pytest.raises(ix.ArgumentError, match="a file of a Stability"):
            ix.Stability.load(tmp_path / "mixed.safetensors")
    why = moxi.why(image, 0, 1)
    with pytest.raises(ix.ArgumentError, match=r"`why`: expected the two results of one `MoXI\.why`"):
        dataclasses.replace(why, makes_wrong=base).save(tmp_path / "why.safetensors")


def test_words_of_stability():
    moxi = ix.MoXI(colors, regions="2x3")
    lines = moxi.stability(COLORS, absences=["mean", 2.0]).words().splitlines()
    assert lines[0] == "Moved by a pixel or more: 1 of 1 patches of the group are in all of 5 groups."
    assert lines[1].startswith("Where absence looks otherwise: ")
    assert lines[2].startswith("Most frequent in all 7: patch 3 (")
    nothing = moxi.stability(COLORS, 2, shift=0, absences=[])
    assert str(nothing) == nothing.words() == "No patch is needed on the photo as it is."


def test_absences_that_are_arrays_are_told_apart():
    ones = np.ones((3, 4, 6), np.float32)
    moxi = ix.MoXI(colors, regions="2x3", absence=0 * ones)
    found = moxi.stability(COLORS, shift=0, absences=[0 * ones, ones, ones, 2 * ones, 0.5])
    assert list(found.variants) == ["absence array", "absence array 2", "absence 0.5"]


def test_a_box_is_the_same_where_detections_change_places():
    """Two boxes of nearly the same score: the one that is explained falls behind as the photo moves."""
    image = np.zeros((3, 8, 24), np.float32)
    image[0, 1:5, 1:5], image[1, 2:6, 17:21] = 0.9, 0.88

    def detector(batch):
        found = []
        for one in batch:
            boxes, scores, labels = [], [], []
            for label in (0, 1):
                rows, columns = np.nonzero(one[label])
                if len(rows):
                    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    # The first is less sure the further right it is.
                    scores.append(one[label].max() - (0.05 * (columns.min() != 1) if label == 0 else 0))
                    boxes.append(box)
                    labels.append(label + 1)
            found.append(
                {"boxes": np.array(boxes, float).reshape(-1, 4), "scores": np.array(scores), "labels": np.array(labels)}
            )
        return found

    moxi = ix.MoXI(detector, regions="1x4", output=ix.outputs.Boxes())
    found = moxi.stability(image, absences=[])
    names = {one.name_of(one.target).split(" at ")[0] for one in (found.explanation, *found.variants.values())}
    assert names == {"class 1"}
    assert found.core() == found.explanation.group == (0,)


def test_a_box_that_the_moved_photo_has_lost_is_told():
    def detector(batch):
        there = [float(one[0, 1, 1]) for one in batch]
        boxes = np.array([[1.0, 1.0, 5.0, 5.0]])
        return [{"boxes": boxes, "scores": np.array([score]), "labels": np.array([1])} for score in there]

    image = np.zeros((3, 8, 8), np.float32)
    image[0, 1, 1] = 0.9
    with pytest.raises(ix.ArgumentError, match="`shift`: expected a shift at which the model still finds"):
        ix.MoXI(detector, regions="2x2", output=ix.outputs.Boxes()).stability(image, absences=[])


def test_what_compares_two_classes_keeps_what_it_compared():
    moxi = ix.MoXI(colors, regions="2x3", keep_coalitions=True)
    found = moxi.contrast(COLORS, 0, 1, direction="insertion")
    assert len(found.coalitions) == 8  # the whole, the empty and each patch
    whole, group = (found.coalitions.look_up(patches) for patches in (range(6), found.group))
    assert whole == found.full
    assert group == found.group_score
    with pytest.raises(ix.ArgumentError, match="`game`: expected None for a result that compares two classes"):
        ix.widget(found, game=moxi.game(COLORS, 0))
    for wrong in (3, "ab", [True], [0.5], [9]):
        with pytest.raises((ix.ArgumentError, ix.ArgumentTypeError), match="`present`: expected numbers of patches"):
            found.coalitions.look_up(wrong)
