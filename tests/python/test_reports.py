"""Reports of comparisons and evaluations: their pictures, and what they say of them."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import evaluation_models
import interpix as ix
from compared import PATCHES, SIZE, left_and_right, photo, three_means
from evaluation_models import write_photos
from interpix.evaluation.folder import kept_file
from interpix.storage import write_arrays

pytest.importorskip("matplotlib")


@pytest.fixture
def model():
    return three_means()


@pytest.fixture
def photos():
    return {"one": photo(1), "two": photo(2)}


def evaluate(source, out):
    metrics = ["insertion(steps=7)", "sic(min_confidence=0)"]
    return ix.evaluate(evaluation_models.model(), source, PATCHES, metrics, out, maps=True, controls=False)


def test_report(model, photos, tmp_path):
    result = ix.compare(
        model,
        {"<b>": photos["one"], "two": photos["two"]},
        [PATCHES],
        "insertion(steps=3)",
        keep_maps=1,
        controls=False,
    )
    page = result.report(tmp_path / "report")
    text = page.read_text()
    assert "<b>" not in text.split("<h2>")[1].split("</h2>")[0]
    assert "2 attributions of means, 2 images" in text
    assert "1 more image is in the table only" in text
    result.plot("<b>").savefig(tmp_path / "expected.png", dpi=80)
    with Image.open(tmp_path / "report" / "image-1.png") as written, Image.open(tmp_path / "expected.png") as drawn:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(drawn))
    numbers = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert numbers["table"][PATCHES]["insertion(steps=3)"] == result.table[PATCHES]["insertion(steps=3)"]
    assert numbers["provenance"]["model"] == "means"
    assert len(numbers["images"]) == 4
    with pytest.raises(ix.ArgumentError, match="raise keep_maps"):
        result.plot("two")


def test_pictures_show_photo_map_and_propagated_map(model, photos):
    constant = {"constant": lambda model, image, target: np.ones(SIZE, np.float32)}
    result = ix.compare(model, photos, constant, "insertion(steps=3)", controls=False)
    axes = result.plot("two").axes
    assert [len(ax.images) for ax in axes] == [1, 1, 1, 0]
    np.testing.assert_array_equal(axes[0].images[0].get_array(), photos["two"])
    np.testing.assert_array_equal(axes[1].images[0].get_array(), np.ones(SIZE))
    spread = result.entry("two", "IProp(constant)").attribution
    np.testing.assert_array_equal(axes[2].images[0].get_array(), spread.map)
    value, spread = (result.entry("two", name).scores["insertion(steps=3)"].value for name in result.methods)
    lines = axes[3].texts[0].get_text().splitlines()
    assert [line.split() for line in lines] == [
        ["map", "IProp"],
        ["insertion(steps=3)", "↑", f"{value:.3f}", f"{spread:.3f}"],
    ]


def test_the_annotated_object_is_outlined_and_explained(model, photos, tmp_path):
    images = {**photos, "none": photo(3), "nothing": photo(4)}
    masks = left_and_right()
    given = {**masks, "none": None, "nothing": np.zeros(SIZE, bool)}
    result = ix.compare(model, images, PATCHES, ["insertion(steps=3)", "roc_auc"], given, controls=False)
    figure = result.plot("one")
    left, top, right, bottom = 1.5, 2.5, 13.5, 19.5  # of rows 3 ... 19 and columns 2 ... 13
    for ax in figure.axes[:3]:
        around = ax.collections[0].get_paths()[0].get_extents()
        np.testing.assert_allclose(around.extents, [left, top, right, bottom], atol=0.51)
    assert [len(ax.collections) for ax in figure.axes] == [1, 1, 1, 0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the annotated object"]
    for name in ("none", "nothing"):
        without = result.plot(name)
        assert not without.legends
        assert not any(ax.collections for ax in without.axes)
    text = result.report(tmp_path / "report").read_text()
    alts = re.findall('alt="([^"]*)"', text)
    assert [", with a line around the annotated object;" in alt for alt in alts] == [True, True, False, False]
    assert text.count("The light blue line is the edge of the annotated object") == 1
    assert text.index("The light blue") < text.index("<img")
    plain = ix.compare(model, photos, PATCHES, "insertion(steps=3)", controls=False)
    assert "annotated object" not in plain.report(tmp_path / "plain").read_text()
    kept = ix.compare(model, photos, PATCHES, "roc_auc", masks, keep_maps=1, controls=False).entries
    assert [entry.annotation is not None for entry in kept] == [True, True, False, False]


def test_pictures_of_an_evaluation_outline_the_object(tmp_path):
    photos = write_photos(tmp_path / "photos", 5)
    boxes = '"[[2, 3, 20, 18]]"'
    (photos / "metadata.csv").write_text(f"file_name,boxes\np0000.png,{boxes}\np0001.png,\n")
    out = tmp_path / "out"
    found = evaluate(photos, out)
    assert kept_file(out, "masks", "p0000.png").exists()
    assert not kept_file(out, "masks", "p0001.png").exists()
    text = found.report().read_text()
    alts = dict(re.findall(r'alt="The photo (p\d+\.png) and the map of each method([^;]*);', text))
    assert alts == {"p0000.png": ", with a line around the annotated object", "p0001.png": ""}
    assert text.count("The light blue line is the edge of the annotated object") == 1
    kept_file(out, "masks", "p0000.png").write_bytes(b"damaged")
    text = ix.load_evaluation(out).report().read_text()
    assert "mask of p0000.png:" in text
    assert "annotated object" not in text
    size = found.maps("p0000.png")[found.methods[0]].map.shape
    for arrays in ({"outside": np.ones(size, bool)}, {"inside": np.ones(size, np.uint8)}, {"inside": np.ones(3, bool)}):
        write_arrays(kept_file(out, "masks", "p0000.png"), arrays, {"format": 1}, overwrite=True)
        text = ix.load_evaluation(out).report().read_text()
        assert f"mask of p0000.png: expected bool {size}, as its maps, got" in text
        assert "annotated object" not in text
    # With another annotation the image is scored again, and the earlier mask does not stay.
    (photos / "metadata.csv").write_text("file_name,boxes\np0000.png,\np0001.png,\n")
    evaluate(photos, out)
    assert not kept_file(out, "masks", "p0000.png").exists()
