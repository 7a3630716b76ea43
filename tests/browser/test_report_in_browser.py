"""The reports of comparisons in Chromium: tables that are sorted, at the width of a desk and of a phone."""

import numpy as np
import pytest

import interpix as ix


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    images = {f"photo {seed}": np.random.default_rng(seed).random((3, 40, 60)).astype(np.float32) for seed in range(3)}
    methods = [ix.methods.RISE(count=20, grid=(2, 3), baseline="zero"), ix.methods.Random()]
    metrics = ["insertion(steps=4,baseline='zero')", "deletion(steps=4,baseline='zero')"]
    found = ix.compare(lambda batch: 30 * batch.mean(axis=(2, 3)), images, methods, metrics)
    return found.report(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen_and_axe_finds_no_serious_fault(opened, faults, path, width):
    page = opened(path, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults(page) == []
    assert page.get_by_role("img").count() == 3


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
