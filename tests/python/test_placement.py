"""Where a model's picture lies on a photo."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageOps

import interpix as ix
from interpix.models.adapters.adapt import as_classifier
from interpix.placement import find_placement

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def normalized(picture):
    return ((np.asarray(picture) / 255 - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def short_edge_then_crop(photo, edge=64, crop=56):
    """As evaluation transforms do it: the short edge to 64 pixels, then the middle 56 x 56."""
    height, width = photo.shape[:2]
    scale = edge / min(height, width)
    picture = Image.fromarray(photo).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (picture.width - crop) // 2, (picture.height - crop) // 2
    return normalized(picture.crop((left, top, left + crop, top + crop)))


def squeezed(photo):
    return normalized(Image.fromarray(photo).resize((60, 40), Image.Resampling.BILINEAR))


def letterbox(photo):
    """The whole photo in a gray square."""
    picture = Image.fromarray(photo)
    scale = 64 / max(picture.size)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (64, 64), (124, 116, 104))
    square.paste(small, ((64 - small.width) // 2, (64 - small.height) // 2))
    return normalized(square)


def classifier(preprocess):
    return ix.CallableClassifier(lambda batch: batch.mean(axis=(2, 3)), preprocess=preprocess)


@pytest.mark.parametrize("size", [(300, 400), (97, 61), (1200, 1800)])
def test_cropped_in_the_middle(size):
    height, width = size
    found = find_placement(classifier(short_edge_then_crop), size)
    assert found.picture == (56, 56)
    resized = [round(side * 64 / min(size)) for side in size]
    lines = zip((found.top, found.left), (found.height, found.width), size, resized, strict=True)
    for start, extent, side, small in lines:
        pixel = side / small  # of the picture, on the photo
        assert (start, extent) == pytest.approx(((small - 56) // 2 * pixel, 56 * pixel), abs=pixel / 4)
    assert found.seen == pytest.approx(found.height * found.width / (height * width), abs=0.02)


def test_squeezed():
    found = find_placement(classifier(squeezed), (100, 200))
    assert (found.top, found.left, found.height, found.width) == pytest.approx((0, 0, 100, 200), abs=1)
    assert found.seen == 1


def test_borders_lie_outside_of_the_photo():
    found = find_placement(classifier(letterbox), (90, 180))
    assert (found.top, found.left, found.height, found.width) == pytest.approx((-45, 0, 180, 180), abs=1)
    assert found.seen > 0.98


@pytest.mark.parametrize(
    "odd",
    [
        lambda photo: short_edge_then_crop(photo[:, ::-1]),
        lambda photo: short_edge_then_crop(np.rot90(photo).copy()),
        lambda photo: short_edge_then_crop(np.roll(photo, photo.shape[1] // 3, axis=1)),
    ],
    ids=["mirrored", "turned", "rolled"],
)
def test_what_is_no_crop_is_refused(odd):
    with pytest.raises(ix.ArgumentError, match="resizes, crops or adds borders, and nothing else"):
        find_placement(classifier(odd), (300, 400))


def letterboxed(photo, corner=None):
    """The whole photo in a black square of 64 pixels, in the middle or at a corner."""
    picture = Image.fromarray(photo)
    scale = 64 / max(picture.size)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (64, 64))
    square.paste(small, ((64 - small.width) // 2, (64 - small.height) // 2) if corner is None else corner)
    return normalized(square)


@pytest.mark.parametrize("size", [(200, 420), (200, 800), (600, 150)])
@pytest.mark.parametrize("corner", [None, (0, 0)])
def test_wide_and_tall_photos_with_borders(size, corner):
    found = find_placement(classifier(lambda photo: letterboxed(photo, corner)), size)
    most, pixel = max(size), max(size) / 64
    assert (found.height, found.width) == pytest.approx((most, most), rel=0.02)
    away = [(side - most) / 2 if corner is None else 0 for side in size]
    assert (found.top, found.left) == pytest.approx(away, abs=pixel)
    assert found.seen > 0.97


@pytest.mark.parametrize("size", [(20, 20), (12, 400), (8, 9)])
def test_small_photos_that_are_enlarged(size):
    found = find_placement(classifier(squeezed), size)
    assert (found.top, found.left) == pytest.approx((0, 0), abs=0.5)
    assert (found.height, found.width) == pytest.approx(size, rel=0.04, abs=0.5)


def turned(photo, degrees):
    return normalized(Image.fromarray(photo).resize((60, 40)).rotate(degrees, Image.Resampling.BILINEAR))


def swapped_corners(photo):
    picture = squeezed(photo)
    picture[:, :10, :10], picture[:, -10:, -10:] = picture[:, -10:, -10:].copy(), picture[:, :10, :10].copy()
    return picture


def inset(photo):
    picture = squeezed(photo)
    picture[:, :10, :15] = picture[:, ::4, ::4].copy()
    return picture


def random_crop(photo):
    left = np.random.default_rng().integers(100)
    return squeezed(np.ascontiguousarray(photo[:, left : left + 200]))


def zoomed(photo):
    height, width = photo.shape[:2]
    part = photo[height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
    return squeezed(np.ascontiguousarray(part))


@pytest.mark.parametrize(
    ("odd", "need"),
    [
        (lambda photo: turned(photo, 5), "nothing else"),
        (lambda photo: turned(photo, -10), "nothing else"),
        (swapped_corners, "nothing else"),
        (inset, "nothing else"),
        (zoomed, "a larger part"),
        (random_crop, "deterministic"),
    ],
    ids=["turned", "turned back", "swapped", "inset", "zoomed", "random"],
)
def test_what_shows_other_places_is_refused(odd, need):
    with pytest.raises(ix.ArgumentError, match=need):
        find_placement(classifier(odd), (300, 400))


def test_photos_that_are_too_small_are_refused():
    with pytest.raises(ix.ArgumentError, match="`photo`: expected a photo of at least 4 x 4 pixels, got 1 x 9"):
        find_placement(classifier(squeezed), (1, 9))
    with pytest.raises(ix.ArgumentError, match=r"a picture of model .* of at least 4 x 4 pixels, got 2 x 3"):
        find_placement(classifier(lambda photo: squeezed(photo)[:, ::20, ::20]), (30, 40))


def test_timm_and_native_say_where_theirs_are():
    model = timm.create_model("resnet18", num_classes=3)
    model.pretrained_cfg = {**model.pretrained_cfg, "crop_pct": 0.875, "input_size": (3, 224, 224)}
    found = find_placement(as_classifier(model), (500, 700))
    assert found.picture == (224, 224)
    assert (found.top, found.height) == pytest.approx((500 * 0.0625, 437.5), abs=3)
    assert (found.left, found.width) == pytest.approx((350 - 218.75, 437.5), abs=3)


def test_patches_come_back_to_their_places(tmp_path):
    """A red square on the photo is where the map is on the photo."""
    photo = np.full((120, 200, 3), 90, np.uint8)
    photo[40:60, 120:140] = 250, 0, 0
    Image.fromarray(photo).save(tmp_path / "photo.png")

    def reddest(batch):
        return np.stack([(batch[:, 0] - batch[:, 1]).clip(1).sum(axis=(1, 2)) - 56 * 56, np.ones(len(batch))], axis=1)

    model = ix.CallableClassifier(reddest, preprocess=short_edge_then_crop)
    found = ix.MoXI(model, regions="14x14").explain(tmp_path / "photo.png", direction="deletion")
    assert found.stopped_at is not None
    back = found.on_photo(tmp_path / "photo.png", model)
    assert back.map.shape == (120, 200)
    np.testing.assert_array_equal(back.image, photo)
    rows, columns = np.nonzero(back.map)
    assert 34 <= rows.min() <= rows.max() <= 66
    assert 112 <= columns.min() <= columns.max() <= 148
    assert back.provenance["placement"]["seen"] == pytest.approx(105 * 105 / (120 * 200), abs=0.02)
    ax = back.plot(ax=Figure().subplots())
    assert ax.get_title().endswith("the model saw 46% of the photo")
    assert len(ax.patches) == 2
    back.save(tmp_path / "back.safetensors")
    assert ix.load(tmp_path / "back.safetensors").provenance["placement"] == back.provenance["placement"]


PHOTO = np.asarray(Image.open(Path(__file__).parents[2] / "examples/chelsea.jpg").resize((240, 160)))
OTHER = np.asarray(Image.open(Path(__file__).parents[2] / "examples/coffee.jpg").resize((240, 160)))


def brighter_half(photo):
    """What is cut off depends on the photo."""
    halves = np.split(photo, 2, axis=1)
    return squeezed(np.ascontiguousarray(halves[int(halves[1].mean() > halves[0].mean())]))


def test_maps_of_something_else_are_refused():
    model, need = (
        classifier(short_edge_then_crop),
        "`photo`: expected the photo that was explained, prepared by the model",
    )
    found = ix.MoXI(model, regions="2x2").explain(PHOTO, stop="all")
    back = found.on_photo(PHOTO, model)
    with pytest.raises(ix.ArgumentError, match=need):
        found.on_photo(OTHER, model)
    with pytest.raises(ix.ArgumentError, match=need):
        found.on_photo(np.ascontiguousarray(PHOTO[::-1]), model)
    # The whole photo, squeezed by hand, is not what the model's own preprocessing makes of it.
    by_hand = normalized(Image.fromarray(PHOTO).resize((56, 56), Image.Resampling.BILINEAR))
    with pytest.raises(ix.ArgumentError, match=need):
        ix.MoXI(model, regions="2x2").explain(by_hand, stop="all").on_photo(PHOTO, model)
    with pytest.raises(ix.ArgumentError, match="one that is on a photo already"):
        back.on_photo(PHOTO, model)
    cutter, darker_right = classifier(brighter_half), PHOTO // (1 + np.arange(2).repeat(120)[:, None]).astype(np.uint8)
    with pytest.warns(UserWarning, match="does not end in"):
        left = ix.MoXI(cutter, regions="2x2").explain(darker_right, stop="all")
    with pytest.raises(ix.ArgumentError, match=need):
        left.on_photo(darker_right, cutter)
    with pytest.raises(ix.ArgumentTypeError, match="`ax`: expected matplotlib's axes"):
        back.plot("heatmap")


@pytest.mark.parametrize("filter_", [Image.Resampling.NEAREST, Image.Resampling.LANCZOS, Image.Resampling.BOX])
def test_the_filter_does_not_matter(filter_):
    model = classifier(lambda photo: normalized(Image.fromarray(photo).resize((60, 40), filter_)))
    found = ix.MoXI(model, regions="2x2").explain(PHOTO, stop="all").on_photo(PHOTO, model)
    assert found.provenance["placement"]["seen"] == pytest.approx(1, abs=0.02)


def test_other_photos_are_refused():
    model = classifier(short_edge_then_crop)
    found = ix.MoXI(model, regions="2x2").explain(np.zeros((90, 120, 3), np.uint8), stop="all")
    with pytest.raises(ix.ArgumentError, match="`photo`: expected one whose picture is 56 x 56, as the map"):
        found.on_photo(np.zeros((90, 120, 3), np.uint8), classifier(squeezed))
    with pytest.raises(ix.ArgumentError, match="`photo`: expected a photo in colors"):
        found.on_photo(np.zeros((3, 56, 56), np.float32), model)
    with pytest.raises(ix.ArgumentError, match=r"does not say how .*CallableClassifier\(function, preprocess="):
        found.on_photo(np.zeros((90, 120, 3), np.uint8), lambda batch: batch.mean(axis=(2, 3)))


def stretched(photo, part=1.0):
    """The middle part of a photo, from black to white: what its levels are decides how they are changed."""
    height, width = (round(side * (1 - part) / 2) for side in photo.shape[:2])
    inner = photo[height : photo.shape[0] - height, width : photo.shape[1] - width]
    return normalized(ImageOps.autocontrast(Image.fromarray(inner).resize((60, 40))))


@pytest.mark.parametrize("part", [0.9, 0.7, 0.5])
def test_levels_that_are_stretched_hide_what_is_cut_off(part):
    with pytest.raises(ix.ArgumentError, match="resizes, crops or adds borders, and nothing else"):
        find_placement(classifier(lambda photo: stretched(photo, part)), (300, 400))


@pytest.mark.parametrize(
    "levels", [lambda photo: photo // 8, lambda photo: photo // 8 + 170], ids=["at night", "in fog"]
)
def test_photos_of_little_contrast_are_told_apart(levels):
    model, photo = classifier(squeezed), levels(PHOTO).astype(np.uint8)
    found = ix.MoXI(model, regions="2x2").explain(photo, stop="all")
    assert found.on_photo(photo, model).provenance["placement"]["confirmed"]
    with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
        found.on_photo(np.ascontiguousarray(photo[:, ::-1]), model)
    cut = classifier(lambda photo: normalized(Image.fromarray(photo[24:-24, 36:-36]).resize((60, 40))))
    with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
        ix.MoXI(cut, regions="2x2").explain(photo, stop="all").on_photo(photo, model)


def test_photos_without_edges_tell_nothing():
    model, photo = classifier(squeezed), np.full((60, 90, 3), 128, np.uint8)
    found = ix.MoXI(model, regions="2x2").explain(photo, stop="all")
    with pytest.warns(ix.InterpixWarning, match="`photo`: mirrored or upside down it would be taken, too"):
        assert not found.on_photo(photo, model).provenance["placement"]["confirmed"]


@pytest.mark.parametrize("size", [16, 28, 64])
@pytest.mark.parametrize("filter_", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_the_whole_photo_is_the_whole_photo(size, filter_):
    whole = classifier(lambda photo: normalized(Image.fromarray(photo).resize((size + 4, size), filter_)))
    found = find_placement(whole, (403, 301))
    assert (found.top, found.left, found.height, found.width) == pytest.approx((0, 0, 403, 301), abs=1e-9)
    assert found.seen == 1


def test_what_is_wrong_with_a_photo_is_said_of_the_photo():
    model = classifier(squeezed)
    found = ix.MoXI(model, regions="2x2").explain(PHOTO, stop="all")
    with pytest.raises(ix.ArgumentError, match="`photo`: expected a raw uint8 image"):
        found.on_photo(PHOTO.transpose(2, 0, 1).copy(), model)
    curved = classifier(lambda photo: squeezed(photo) ** 3)
    with pytest.raises(ix.ArgumentError, match=r"`model`: .* that ends in \(pixel - mean\) / scale .* keep the map"):
        found.on_photo(PHOTO, curved)


def test_a_small_thing_on_plain_ground_tells_photos_apart():
    model, ground = classifier(squeezed), np.full((320, 480, 3), 255, np.uint8)

    def placed(thing):
        photo = ground.copy()
        photo[100:180, 200:300] = thing[30:110, 70:170]
        return photo

    found = ix.MoXI(model, regions="2x2").explain(placed(PHOTO), stop="all")
    assert found.on_photo(placed(PHOTO), model).provenance["placement"]["confirmed"]
    for other in (placed(OTHER), placed(PHOTO)[:, ::-1].copy(), ground):
        with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
            found.on_photo(other, model)


@pytest.mark.parametrize("gray", [lambda one: one.convert("L").convert("RGB"), None], ids=["luma", "mean"])
@pytest.mark.parametrize("channels", [1, 3])
def test_models_that_see_gray(gray, channels):
    def preprocess(photo):
        picture = Image.fromarray(photo)
        if gray is None:
            pixels = np.repeat(photo.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
            picture = Image.fromarray(pixels)
        else:
            picture = gray(picture)
        pixels = np.asarray(picture.resize((60, 40), Image.Resampling.BILINEAR), np.float32) / 255
        return ((pixels - 0.5) / 0.25).transpose(2, 0, 1)[:channels]

    def two(batch):
        return np.stack([batch.mean(axis=(1, 2, 3)), -batch.mean(axis=(1, 2, 3))], axis=1)

    model = ix.CallableClassifier(two, preprocess=preprocess)
    found = ix.MoXI(model, regions="2x2").explain(PHOTO, stop="all")
    assert found.on_photo(PHOTO, model).provenance["placement"]["confirmed"]
    with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
        found.on_photo(OTHER, model)


@pytest.mark.parametrize("levels", [lambda photo: photo // 8, lambda photo: photo], ids=["at night", "by day"])
@pytest.mark.parametrize("how", [Image.Resampling.NEAREST, Image.Resampling.BICUBIC])
def test_pictures_whose_colors_are_stretched(levels, how):
    """Preprocessed by hand for a model that says nothing of its preprocessing, then put back by one that does."""
    photo = levels(PHOTO)
    given = classifier(lambda one: normalized(Image.fromarray(one).resize((60, 40), how)))
    alone = ix.CallableClassifier(lambda batch: batch.mean(axis=(2, 3)))
    found = ix.MoXI(alone, regions="2x2").explain(given.preprocess(photo), stop="all")
    assert found.provenance["colors"] == "stretched"
    assert found.on_photo(photo, given).provenance["placement"]["confirmed"]
    for other in (photo[:, ::-1].copy(), levels(OTHER)):
        with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
            found.on_photo(other, given)


def padded(photo, side, how):
    """In a gray square, then resized, so that the border's edge is mixed with the photo's."""
    picture = Image.fromarray(photo)
    square = Image.new("RGB", (max(picture.size),) * 2, (128, 128, 128))
    square.paste(picture, ((square.width - picture.width) // 2, (square.height - picture.height) // 2))
    return normalized(square.resize((side, side), how))


@pytest.mark.parametrize("size", [(427, 640), (240, 320), (640, 427), (1200, 1600)])
@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize("how", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_photos_that_are_padded_first(size, side, how):
    found = find_placement(classifier(lambda photo: padded(photo, side, how)), size)
    most = max(size)
    wanted = (size[0] - most) / 2, (size[1] - most) / 2, most, most
    assert (found.top, found.left, found.height, found.width) == pytest.approx(wanted, abs=most / side)


def test_photos_of_which_a_line_is_seen_are_refused():
    with pytest.raises(ix.ArgumentError, match=r"`model`: expected (a model whose picture shows|preprocessing)"):
        find_placement(classifier(letterbox), (10, 640))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("side", [32, 96])
def test_sampling_without_averages(mode, side):
    """As torch's `interpolate` does it."""

    def preprocess(photo):
        pixels = torch.tensor(photo.copy()).permute(2, 0, 1)[None].float()
        small = torch.nn.functional.interpolate(pixels, size=(side, side + 8), mode=mode)[0]
        return normalized(small.permute(1, 2, 0).numpy())

    model = classifier(preprocess)
    found = ix.MoXI(model, regions="2x2").explain(PHOTO, stop="all")
    assert found.on_photo(PHOTO, model).provenance["placement"]["confirmed"]
    with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
        found.on_photo(OTHER, model)


@pytest.mark.parametrize("side", [32, 96, 224])
def test_a_photo_that_was_painted_over_in_a_part_is_refused(side):
    model = classifier(lambda photo: normalized(Image.fromarray(photo).resize((side + 8, side))))
    found = ix.MoXI(model, regions="2x2").explain(PHOTO, stop="all")
    painted = PHOTO.copy()
    painted[50:100, 80:150] = 255, 0, 0
    with pytest.raises(ix.ArgumentError, match="`photo`: expected the photo that was explained"):
        found.on_photo(painted, model)
