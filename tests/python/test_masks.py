from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import interpix as ix
from interpix import metrics
from interpix.errors import ArgumentError
from interpix.images import read_image
from interpix.masks import boxes_mask, find_masks, read_mask

SIZE = (4, 6)
MASK = boxes_mask([(1, 0, 3, 2), (4, 3, 6, 4)], SIZE)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_all_kinds_of_masks_agree(tmp_path, mode):
    picture = Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "mask.png")
    boxes = np.array([(1, 0, 3, 2), (4, 3, 6, 4)])
    for given_mask in (MASK, boxes, boxes.tolist(), picture, tmp_path / "mask.png", str(tmp_path / "mask.png")):
        read = read_mask(given_mask, SIZE)
        assert read.dtype == np.bool_
        assert not read.flags.writeable
        np.testing.assert_array_equal(read, MASK)


def test_tensors_are_read():
    import torch

    np.testing.assert_array_equal(read_mask(torch.from_numpy(MASK), SIZE), MASK)
    np.testing.assert_array_equal(read_mask(torch.tensor([1, 0, 3, 2]), SIZE), boxes_mask((1, 0, 3, 2), SIZE))


BOXES = st.builds(
    lambda left, top, width, height: (left, top, min(left + width, 6), min(top + height, 4)),
    *(st.integers(0, 5), st.integers(0, 3), st.integers(1, 6), st.integers(1, 4)),
)


@given(st.lists(BOXES, min_size=1, max_size=4))
def test_boxes_cover_the_pixels_that_lie_in_one_of_them(boxes):
    expected = [
        [any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes) for x in range(6)]
        for y in range(4)
    ]
    np.testing.assert_array_equal(boxes_mask(boxes, SIZE), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_photo_is(tmp_path, orientation):
    """F10: mask files were opened without the turn that their photos got."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    levels = np.where(MASK, 200, 20).astype(np.uint8)
    Image.fromarray(np.repeat(levels[:, :, None], 3, axis=2)).save(tmp_path / "photo.png", exif=exif)
    Image.fromarray(levels).save(tmp_path / "mask.png", exif=exif)
    seen = read_image(tmp_path / "photo.png").raw
    assert seen.shape[:2] == (SIZE if orientation < 5 else SIZE[::-1])
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", seen.shape[:2]), seen[:, :, 0] > 128)


def test_compare_takes_turned_masks_and_boxes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to see it upright
    photo = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png", exif=exif)
    box = boxes_mask([(1, 0, 3, 2)], SIZE)
    Image.fromarray(box).save(tmp_path / "mask.png", exif=exif)
    upright = np.rot90(box, -1)
    model = ix.CallableClassifier(
        lambda batch: batch.mean((2, 3)),
        preprocess=lambda raw: np.ascontiguousarray(raw.transpose(2, 0, 1), np.float32) / 255,
    )
    perfect = {"perfect": lambda model, image, target: upright.astype(np.float32)}
    for mask in (tmp_path / "mask.png", [(2, 1, 4, 3)]):
        result = ix.compare(model, tmp_path / "photo.png", perfect, "roc_auc", [mask], propagate=False, controls=False)
        assert result.table["perfect"]["roc_auc"] == 1


def test_a_sample_takes_the_path_of_a_picture(classifier, image, tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    sample = metrics.Sample.of(classifier, image, annotation=tmp_path / "mask.png")
    np.testing.assert_array_equal(sample.annotation, MASK)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK.T, "`masks`: expected a mask of 4 x 6, the size of its image, got bool .6, 4."),
        (MASK.astype(float), "expected bool arrays.*got float64 .4, 6.; pass mask > 0"),
        (MASK.astype(int), "pass mask > 0"),
        ([(0, 0, 7, 2)], r"inside of 4 x 6 pixels, got \(0, 0, 7, 2\)"),
        ([(0, 0, 1.5, 2)], "integer boxes"),
        ({}, r"integer boxes \(n, 4\)"),
        ("no/such/mask.png", "`masks`: expected a file that exists, got 'no/such/mask.png'"),
        (Image.new("L", (6, 4), 1), r"bright \(128 ... 255\) inside of the object, got a picture with levels up to 1"),
        (Image.new("I;16", (6, 4)), "`masks`: expected 8 bits for each channel"),
        (Image.new("L", (4, 6), 255), "a mask of 4 x 6"),
    ],
)
def test_bad_masks_say_what_to_do(mask, message):
    with pytest.raises(ArgumentError, match=message):
        read_mask(mask, SIZE, "masks")


def test_a_file_that_is_no_picture_says_so(tmp_path):
    (tmp_path / "mask.png").write_text("not a picture")
    with pytest.raises(ArgumentError, match="`masks`: expected an image file that Pillow reads"):
        read_mask(tmp_path / "mask.png", SIZE, "masks")


def test_an_empty_picture_is_an_empty_mask():
    assert not read_mask(Image.new("L", (6, 4), 0), SIZE).any()


def test_masks_are_found_by_name(tmp_path):
    for name in ("duck.png", "cat.tif"):
        (tmp_path / name).touch()
    found = find_masks(["duck.jpg", "cat.jpg"], tmp_path)
    assert found == {"duck.jpg": tmp_path / "duck.png", "cat.jpg": tmp_path / "cat.tif"}
    with pytest.raises(ArgumentError, match=r"one picture named dog\.\* in .*, got none; name the mask as its photo"):
        find_masks(["dog.jpg"], tmp_path)
    with pytest.raises(ArgumentError, match=r"photos of different names.*got duck\.jpg, duck\.png; rename them"):
        find_masks(["duck.jpg", "cat.jpg", "duck.png"], tmp_path)
    (tmp_path / "duck.gif").touch()
    with pytest.raises(ArgumentError, match=r"got duck\.gif, duck\.png"):
        find_masks([str(Path("photos") / "duck.jpg")], tmp_path)


def test_numbers_of_the_images_own_size_are_not_taken_for_boxes():
    """F27: an integer mask of an image of 4 columns was read as boxes."""
    with pytest.raises(ArgumentError, match=r"pass mask > 0, or boxes through interpix\.metrics\.boxes_mask"):
        read_mask(np.array([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 1, 1]]), (3, 4))


def test_what_is_wrong_with_boxes_is_said():
    with pytest.raises(ArgumentError, match=r"integer boxes \(n, 4\), got float64 \(1, 4\); round the coordinates"):
        read_mask([(0.5, 0, 1, 1)], (3, 5))
    with pytest.raises(ArgumentError, match=r"got int64 \(3, 3\); give left, top, right and bottom of each"):
        read_mask(np.eye(3, dtype=np.int64), (3, 5))


def voc(tmp_path, **options):
    """An object of class 12 with a border of nobody's, in PASCAL VOC's palette."""
    indices = np.where(MASK, 12, 0).astype(np.uint8)
    indices[3, 3] = 255
    picture = Image.fromarray(indices, mode="P")
    palette = np.zeros((256, 3), np.uint8)
    palette[12], palette[255] = (64, 0, 128), (224, 224, 192)
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "voc.png", **options)
    return picture


def test_labels_of_a_palette_are_inside_and_their_border_is_not(tmp_path):
    """F11: the object's color is dark, the border's is bright."""
    picture = voc(tmp_path)
    for mask in (picture, tmp_path / "voc.png"):
        np.testing.assert_array_equal(read_mask(mask, SIZE), MASK)


def test_a_palette_of_grays_is_a_picture(tmp_path):
    """F11: its first color need not be the background's."""
    picture = Image.fromarray(np.where(MASK, 0, 1).astype(np.uint8), mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", SIZE), MASK)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            np.where(MASK, 12, 0) + np.eye(4, 6, dtype=int) * 255 * ~MASK,
            "of levels that look like labels: 0, 12, 255; pass a bool array",
        ),
        (np.repeat([[0, 12], [150, 255]], 3, axis=1).repeat(2, axis=0), "like labels: 0, 12, 150, 255;"),
        (np.repeat([[0, 3], [3, 150]], 3, axis=1).repeat(2, axis=0), "like labels: 0, 3, 150;"),
        (np.repeat([[0, 0], [150, 255]], 3, axis=1).repeat(2, axis=0), "like labels: 0, 150, 255;"),
        (np.where(MASK[..., None], [200, 0, 0], [0, 0, 90]), "in colors; pass a bool array"),
        (np.where(MASK, 3, 1), "with levels up to 3"),
    ],
)
def test_other_label_images_are_refused(tmp_path, levels, message):
    """F11: what is neither black and white nor has a palette."""
    Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(ArgumentError, match=message):
        read_mask(tmp_path / "mask.png", SIZE)


def test_labels_of_many_grays_are_refused():
    """F11: a class for each cell, as a palette of grays shows it, with a level each."""
    cells = (np.arange(20, dtype=np.uint8) * 12).reshape(4, 5).repeat(4, axis=0).repeat(4, axis=1)
    picture = Image.fromarray(cells // 12, mode="P")
    picture.putpalette(np.arange(0, 240, 12, dtype=np.uint8).repeat(3).tobytes())
    for labels in (Image.fromarray(cells), picture):
        with pytest.raises(ArgumentError, match=r"like labels: 0, 12, 24, .*, 180, ...; pass a bool array"):
            read_mask(labels, (16, 20))


@pytest.mark.parametrize("kind", ["smooth", "jpeg", "soft", "not quite black"])
def test_edges_are_no_labels(tmp_path, kind):
    """F11: levels in passing, of a picture that is black and white."""
    inside = boxes_mask([(4, 2, 20, 12)], (24, 30))
    small = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))
    path = tmp_path / ("mask.jpg" if kind == "jpeg" else "mask.png")
    if kind == "jpeg":
        small.resize((120, 96), Image.Resampling.BICUBIC).save(path, quality=70)
    elif kind == "smooth":
        small.resize((70, 52), Image.Resampling.BICUBIC).save(path)
    elif kind == "soft":
        Image.fromarray(np.add.outer(np.arange(24) * 4, np.arange(30) * 5).astype(np.uint8)).save(path)
    else:
        Image.fromarray(np.where(inside, 253, 2).astype(np.uint8)).save(path)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("L")) >= 128
    np.testing.assert_array_equal(read_mask(path, expected.shape), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_not_dropped(tmp_path, mode):
    """F11: a cut-out is white or a photo where it is opaque, and of any color where nobody sees it."""
    shown = Image.new("RGBA", SIZE[::-1], "white")
    shown.putalpha(Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8)))
    shown.convert(mode).save(tmp_path / "mask.png")
    with pytest.raises(ArgumentError, match="transparent in places; pass a bool array; where it is opaque") as error:
        read_mask(tmp_path / "mask.png", SIZE)
    assert "mask.png" in str(error.value)
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGBA"))[..., 3] >= 128, MASK)
    opaque = Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8)).convert("RGBA")
    np.testing.assert_array_equal(read_mask(opaque, SIZE), MASK)


def identity(raw):
    return raw.transpose(2, 0, 1).astype(np.float32) / 255


PHOTOMETRIC = {
    "none": identity,
    "inverted": lambda raw: identity(255 - raw),
    "solarized": lambda raw: identity(np.where(raw >= 128, 255 - raw, raw)),
    "posterized": lambda raw: identity(raw & 0xC0),
    "gray on white": lambda raw: np.pad(identity(255 - raw), [(0, 0), (1, 1), (0, 0)], constant_values=1),
    "half as large": lambda raw: identity(
        np.asarray(Image.fromarray(255 - raw).resize((15, 12), Image.Resampling.BOX))
    ),
    "normalized": lambda raw: -(identity(raw) - 0.5) / 0.25,
}


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_levels_do_not_move_masks(name):
    """F12: what preprocessing does to levels must not turn a mask over."""
    inside = boxes_mask([(4, 2, 20, 12)], (24, 30))
    seen = metrics.annotation_as_seen(ix.CallableClassifier(np.sum, preprocess=PHOTOMETRIC[name]), inside)
    expected = {
        "gray on white": np.pad(inside, [(1, 1), (0, 0)]),
        "half as large": inside[::2, ::2],
    }.get(name, inside)
    np.testing.assert_array_equal(seen, expected)


def test_preprocessing_that_moves_masks_elsewhere_is_refused():
    """F12, F14: mirrored at random, or all of one color."""
    inside = boxes_mask([(4, 2, 20, 12)], (24, 30))
    turns = iter([False] * 3 + [True])
    mirrored = ix.CallableClassifier(np.sum, preprocess=lambda raw: identity(raw[:, ::-1] if next(turns) else raw))
    with pytest.raises(ArgumentError, match="moves a mask as it moves its image, got the object in another place"):
        metrics.annotation_as_seen(mirrored, inside)
    nothing = ix.CallableClassifier(np.sum, preprocess=lambda raw: 0 * identity(raw))
    with pytest.raises(ArgumentError, match="got the same tensor for black and for white"):
        metrics.annotation_as_seen(nothing, inside)


@pytest.mark.parametrize("bad", ["wrong size", "no picture", "labels"])
def test_a_bad_mask_is_told_before_any_model_is_asked(tmp_path, bad):
    """F10: hours later, it would cost more."""
    photos = {
        f"{index}.png": np.random.default_rng(index).integers(0, 255, (24, 30, 3), np.uint8) for index in range(3)
    }
    masks = {name: np.eye(24, 30, dtype=bool) for name in photos}
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((24, 30), 12, np.uint8)).save(path)
    if bad == "no picture":
        path.write_bytes(b"no picture at all")
    masks["2.png"] = np.eye(30, 24, dtype=bool) if bad == "wrong size" else path

    def model(_batch):
        raise AssertionError("the model was asked")

    classifier = ix.CallableClassifier(model, preprocess=identity)
    with pytest.raises(ArgumentError, match="`masks`"):
        ix.compare(classifier, photos, "moxi", "roc_auc", masks)
