"""The page in Chromium: slider, patches and keys, at the width of a desk and of a phone."""

import re

import numpy as np
import pytest

import interpix as ix

NAMES = ["a red thing with a very long name indeed, of the kind that data sets have", "green", "blue"]
MODEL = ix.CallableClassifier(lambda batch: 30 * batch.mean(axis=(2, 3)), name="means", class_names=NAMES)


@pytest.fixture(scope="module")
def results():
    image = np.random.default_rng(3).random((3, 60, 120)).astype(np.float32)
    moxi = ix.MoXI(MODEL, regions="3x4", keep_coalitions=True)
    return [moxi.explain(image, 0, direction=one, min_patches=6) for one in ("insertion", "deletion")]


@pytest.fixture(scope="module")
def path(results, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "answer.html"
    results[0].to_html(path, results[1])
    return path


def answer(page, panel=0):
    return page.locator(".ix-answer").nth(panel).inner_text().replace("\u00a0", " ")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_screen_and_axe_finds_no_serious_fault(opened, faults, path, width, dark):
    page = opened(path, width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults(page) == []
    tops = [page.locator(".ix-photo").nth(panel).bounding_box()["y"] for panel in (0, 1)]
    assert (tops[0] == tops[1]) == (width == 1280)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_goes_through_the_steps(opened, path, results, width):
    page, found = opened(path, width), results[0]
    slider = page.get_by_role("slider").first
    slider.focus()
    page.keyboard.press("Home")
    assert answer(page).startswith("With 0 of 12 patches")
    marks = []
    for step in range(1, len(found.ranking) + 1):
        page.keyboard.press("ArrowRight")
        written = ix.outputs.base.describe(found.output, found.answers[step])
        assert f"({written}" in answer(page)
        checked = page.locator(".ix-photo").first.locator('[aria-checked="true"]')
        assert checked.count() == step
        marks.append(float(page.locator(".ix-mark").first.get_attribute("cx")))
    assert marks == sorted(set(marks))


@pytest.mark.parametrize("width", [1280, 390])
def test_patches_are_toggled_by_clicks_and_keys_and_what_was_not_scored_says_so(opened, path, results, width):
    page, known = opened(path, width), results[0].coalitions
    page.get_by_role("slider").first.focus()
    page.keyboard.press("Home")
    patches = page.locator(".ix-photo").first.get_by_role("checkbox")
    patches.nth(5).click()
    score = known.look_up([5])
    assert ix.outputs.base.describe(results[0].output, score.answer) in answer(page)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("patch 4, row 2, column 1")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    present = [index for index in range(12) if patches.nth(index).get_attribute("aria-checked") == "true"]
    assert present == [0, 4, 5]
    assert (known.look_up(present) is None) == ("the model was not asked" in answer(page))
    for index in (7, 10, 11):
        patches.nth(index).click()
    assert known.look_up([0, 4, 5, 7, 10, 11]) is None
    assert "the model was not asked" in answer(page)
    assert page.get_by_role("button", name="Ask the model").count() == 0
    page.get_by_role("button", name="Back to the step").first.click()
    assert answer(page).startswith("With 0 of 12 patches")


def test_every_patch_can_be_reached_by_keys_and_is_named(opened, path):
    page = opened(path)
    photo = page.locator(".ix-photo").first
    assert photo.locator('[tabindex="0"]').count() == 1
    names = photo.get_by_role("checkbox").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert len(set(names)) == 12
    assert all(re.match(r"patch \d+, row \d, column \d.*, (present|absent)$", name) for name in names)
    photo.locator('[tabindex="0"]').focus()
    seen = set()
    for row in range(3):
        for _ in range(4):
            seen.add(page.evaluate("document.activeElement.getAttribute('aria-label')"))
            page.keyboard.press("ArrowRight" if row % 2 == 0 else "ArrowLeft")
        page.keyboard.press("ArrowDown")
    assert len(seen) == 12


def test_what_is_absent_can_be_seen(opened, path):
    page = opened(path)
    cover = page.locator(".ix-cover").first
    opacity = "one => Number(getComputedStyle(one).fillOpacity)"
    covered = cover.evaluate(opacity)
    page.get_by_role("button", name="See what is absent").first.click()
    assert cover.evaluate(opacity) < covered / 2
