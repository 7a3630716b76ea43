"""The SET-SUM game, in which patches that say most on their own say the same, and the script that learns it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpix import CallableClassifier, MoXI

GRID = (2, 3)
values_of_six = st.lists(st.integers(1, 9), min_size=6, max_size=6)


def sum_of_distinct(batch):
    """Two classes; the log-odds of the first are the sum of the distinct values in the picture."""
    sums = [np.unique(picture).sum() for picture in batch]
    return np.stack([sums, np.zeros(len(sums))], axis=1)


def explain(values, method="explain", **options):
    """Six values as 2 x 3 patches of 2 x 2 pixels; absent patches are 0."""
    pixels = np.kron(np.reshape(values, GRID), np.ones((2, 2)))
    moxi = MoXI(CallableClassifier(sum_of_distinct), regions=GRID)
    return getattr(moxi, method)(np.broadcast_to(pixels, (3, 4, 6)).astype(np.float32), 0, **options)


def picks_duplicate(result, values):
    found = [values[player] for player in result.ranking]
    return len(set(found[: len(set(values))])) < len(set(values))


@given(values_of_six)
def test_moxi_picks_no_duplicate_while_a_new_value_is_left(values):
    result = explain(values, stop="all")
    assert not picks_duplicate(result, values)
    distinct = sorted(set(values), reverse=True)
    best = [sum(distinct[:count]) for count in range(7)]
    np.testing.assert_allclose(result.rewards, best, atol=1e-5)


@pytest.mark.parametrize(("method", "options"), [("one_shot", {}), ("shapley", {"sampler": "exact"})])
def test_rankings_without_interactions_pick_duplicates(method, options):
    values = [9, 3, 9, 1, 2, 3]
    result = explain(values, method, **options)
    assert picks_duplicate(result, values)
    assert set(result.ranking[:2]) == {0, 2}


@given(values_of_six)
def test_shapley_values_share_a_value_among_its_duplicates(values):
    result = explain(values, "shapley", sampler="exact")
    np.testing.assert_allclose(result.values, [value / values.count(value) for value in values], atol=1e-5)
    ranked = np.array(values)[result.ranking]
    shares = [value / values.count(value) for value in ranked]
    assert shares == pytest.approx(sorted(shares, reverse=True))


# --- the script -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("timm")
    sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
    try:
        import set_sum

        yield set_sum
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder like MNIST's: pictures of one gray level for each value, and two of each value in the test set."""
    folder = tmp_path_factory.mktemp("mnist")
    for split, count in (("train", 40), ("t10k", 20)):
        values = np.arange(count, dtype=np.uint8) % 10
        pixels = np.repeat(values * 20 + 50, 28 * 28).astype(np.uint8)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(bytes(16) + pixels.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(bytes(8) + values.tobytes())
    return folder


def digits_seen(image):
    """The values in an image of the fake digits, in reading order."""
    levels = image[0].reshape(2, 28, 2, 28).transpose(1, 2).reshape(4, -1)
    assert (levels == levels[:, :1]).all()
    return [round((float(level) * 255 - 50) / 20) for level in levels[:, 0]]


@pytest.mark.parametrize("shown", [2, 4])
def test_labels_are_the_sums_of_the_distinct_digits_shown(script, mnist, shown):
    import torch

    digits, values = script.data.read_mnist(mnist, "train")
    images, kept, sums = script.data.draw_train(digits, values, 50, torch.Generator().manual_seed(0), shown=shown)
    assert images.shape == (50, 3, 56, 56)
    assert kept.shape == (50, shown)
    fours = [digits_seen(image) for image in images]
    assert sums.tolist() == [sum({four[i] for i in one}) for four, one in zip(fours, kept.tolist(), strict=True)]
    assert {len(set(four)) for four in fours} == {1, 2, 3, 4}


def test_test_composites_show_their_largest_digit_twice(script, mnist):
    import torch

    digits, values = script.data.read_mnist(mnist, "t10k")
    images, sums, fours = script.data.draw_test(digits, values, 50, torch.Generator().manual_seed(0))
    for image, total, four in zip(images, sums.tolist(), fours.tolist(), strict=True):
        assert digits_seen(image) == four
        assert sum(set(four)) == total
        assert sorted(four.count(value) for value in set(four)) == [1, 1, 2]
        assert four.count(max(four)) == 2


def test_duplicates_are_recognized(script):
    class Ranked:
        ranking = (0, 1, 3, 2)

    assert script.picks_duplicate(Ranked, [7, 7, 1, 2])
    assert not script.picks_duplicate(Ranked, [7, 2, 7, 1])
    assert script.picks_duplicate(Ranked, [7, 1, 2, 7])


@pytest.mark.parametrize(("kind", "width", "absence"), [("resnet", 4, "zero"), ("vit", 8, "drop_tokens")])
def test_patches_are_absent_in_training_as_they_are_in_the_ranking(script, kind, width, absence):
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = script.data.make_model(kind, width).eval()
        images, sums = torch.rand(2, 3, 56, 56), torch.tensor([9, 12])
    ranked = script.rank(model, images, sums, absence)["MoXI"]
    for image, target, result in zip(images, sums.tolist(), ranked, strict=True):
        for count in range(1, 5):
            kept = torch.tensor([[int(player) for player in result.ranking[:count]]])
            with torch.no_grad():
                chances = script.data.answer(model, image[None], kept).softmax(1)[0]
            assert result.rewards[count] == pytest.approx(float(torch.logit(chances[target])), abs=1e-4)


def test_description_of_a_model_that_knows_the_task(script, monkeypatch, capsys):
    import torch

    fours = torch.tensor([[7, 1, 7, 2], [5, 9, 0, 9]])

    def exact(_, images, kept):
        sums = [sum({int(four[i]) for i in one}) for four, one in zip(fours, kept.tolist(), strict=True)]
        return -((torch.arange(31.0) - torch.tensor(sums)[:, None]) ** 2)

    monkeypatch.setattr(script.data, "answer", exact)
    script.describe(None, torch.zeros(2, 3, 56, 56), torch.tensor([10, 14]), fours)
    says, odds = capsys.readouterr().out.splitlines()
    assert says.endswith("100.0 | 100.0 | 100.0 | 100.0")
    # Of a right answer: -log(2 / e + 2 / e^4 + ...).
    assert "nothing: 0.3 |" in odds


def test_script_trains_ranks_and_draws_reproducibly(script, mnist, tmp_path, capsys):
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    few = ["--models", "resnet", "vit-removal", "--images", "6", "--width", "4", "--composites", "64"]
    hashes = []
    try:
        for run in ("first", "second"):
            cache = tmp_path / run
            cache.mkdir()
            for file in mnist.iterdir():
                (cache / file.name).symlink_to(file)
            script.main(["--cache", str(cache), "--plot", str(tmp_path / "plot.png"), *few])
            printed = capsys.readouterr().out
            hashes.append([line for line in printed.splitlines() if "weights" in line])
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == len(set(hashes[0])) == 2
    assert printed.count("| MoXI |") == 3
    assert "| exact rule | MoXI |" in printed
    assert (tmp_path / "plot.png").stat().st_size > 1000
