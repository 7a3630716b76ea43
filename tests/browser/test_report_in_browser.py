"""The reports of comparisons in Chromium: tables that are sorted, at the width of a desk and of a phone."""

import numpy as np
import pytest
from PIL import Image

import interpix as ix

METHODS = [ix.methods.RISE(count=20, grid=(2, 3), baseline="zero"), ix.methods.Random()]
METRICS = ["insertion(steps=4,baseline='zero')", "deletion(steps=4,baseline='zero')"]


def means(batch):
    return 30 * batch.mean(axis=(2, 3))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Of a comparison: the object of the second image is known, that of the third has no pixels."""
    images = {f"photo {seed}": np.random.default_rng(seed).random((3, 40, 60)).astype(np.float32) for seed in range(3)}
    inside = np.zeros((40, 60), bool)
    inside[8:30, 20:45] = True
    masks = {"photo 1": inside, "photo 2": ~(inside | True)}
    found = ix.compare(means, images, METHODS, [*METRICS, "roc_auc"], masks)
    return found.report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Of an evaluation, with maps, curves and boxes."""
    photos, out = (tmp_path_factory.mktemp(name) for name in ("photos", "out"))
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    (photos / "metadata.csv").write_text('file_name,boxes\n0.png,"[[4, 6, 30, 20]]"\n1.png,\n2.png,\n3.png,\n')
    preprocess = lambda raw: raw.transpose(2, 0, 1) / np.float32(255)  # noqa: E731
    model = ix.CallableClassifier(means, name="means", preprocess=preprocess)
    return ix.evaluate(model, photos, METHODS, METRICS, out, maps=True, curves=True).report()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("which", "pictures", "outlined"), [("path", 3, 1), ("evaluated", 6, 1)])
def test_nothing_is_wider_than_the_screen_and_axe_finds_no_serious_fault(
    opened, faults, request, which, pictures, outlined, width, dark
):
    page = opened(request.getfixturevalue(which), width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults(page) == []
    assert page.get_by_role("img").count() == pictures
    assert page.get_by_role("img", name="with a line around the annotated object").count() == outlined
    assert page.locator(".legend").count() == 1


def test_a_click_on_a_column_sorts_by_it_and_the_third_one_undoes_it(opened, path):
    page = opened(path)
    table = page.locator("table").first
    column = "[...document.querySelector('table').tBodies[0].rows].map(row => row.cells[1].textContent)"
    first = page.evaluate(column)
    button = table.get_by_role("columnheader").nth(1).get_by_role("button")
    for sign in (-1, 1):
        button.click()
        values = [float(text.split()[0]) for text in page.evaluate(column)]
        assert values == sorted(values, key=lambda one: sign * one)
        assert len(set(values)) > 2
    button.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(column) == first
