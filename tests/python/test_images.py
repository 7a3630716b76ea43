import os
import re
import warnings

import numpy as np
import pytest
from PIL import Image

import interpix
from interpix.errors import ArgumentError, ArgumentTypeError, InterpixError
from interpix.images import read_image, read_images, to_display

RAW = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_raw_kinds_agree(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(RAW).save(path)
    for image in (RAW, Image.fromarray(RAW), path, str(path)):
        loaded = read_image(image)
        assert loaded.tensor is None
        np.testing.assert_array_equal(loaded.raw, RAW)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate 90 degrees clockwise to see it upright
    Image.fromarray(RAW).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png").raw, np.rot90(RAW, -1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb(mode):
    photo = Image.fromarray(RAW).convert(mode)
    np.testing.assert_array_equal(read_image(photo).raw, np.array(photo.convert("RGB")))
    assert read_image(photo).raw.std() > 10


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_images_are_not_clipped(mode, tmp_path):
    deep = Image.new(mode, (6, 4))
    deep.save(tmp_path / "deep.tiff")
    for image in (deep, tmp_path / "deep.tiff"):
        with pytest.raises(ArgumentError, match=rf"expected 8 bits for each channel, got a picture of mode '{mode}'"):
            read_image(image)


def test_float_is_preprocessed_whatever_its_values():
    # Values of 0 ... 255 in a float tensor are still the model's input: nothing is guessed.
    for scale in (1, 255):
        loaded = read_image(RAW.transpose(2, 0, 1) / 72 * scale)
        assert loaded.raw is None
        assert loaded.tensor.dtype == np.float32
        np.testing.assert_array_equal(loaded.tensor, (RAW.transpose(2, 0, 1) / 72 * scale).astype(np.float32))


def test_torch_tensors_are_read():
    import torch

    tensor = torch.rand(2, 3, 4, 6, requires_grad=True)
    images, many = read_images(tensor)
    assert many
    np.testing.assert_array_equal(images[1].tensor, tensor[1].detach().numpy())
    np.testing.assert_array_equal(read_image(tensor[0].bfloat16()).tensor, tensor[0].bfloat16().detach().float())


def test_a_list_is_many():
    images, many = read_images([RAW, 100 - RAW])
    assert many
    np.testing.assert_array_equal([image.raw for image in images], [RAW, 100 - RAW])
    assert read_images(RAW)[1] is False


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 6, 3), np.uint8), "`image`: expected an image with pixels, got uint8"),
        (np.zeros((3, 4, 6), np.uint8), r"raw uint8 image of shape \(H, W, 3\).*channels last"),
        (np.zeros((6, 4, 3), np.float32), r"preprocessed float image \(C, H, W\).*must be uint8"),
        (np.zeros((3, 4, 6), np.int64), "dtype uint8 or a float, got int64"),
        (np.full((3, 4, 6), np.nan), "finite numbers, got 72 NaN"),
        (np.full((3, 4, 6), np.inf), "finite numbers"),
        ([], "at least one image"),
        (np.zeros((0, 3, 4, 6), np.float32), "at least one image"),
        ("no/such/photo.jpg", "a file that exists, got 'no/such/photo.jpg'"),
    ],
)
def test_bad_images_say_what_to_do(image, message):
    with pytest.raises(ArgumentError, match=message):
        read_images(image)


def test_a_file_that_is_no_image_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(ArgumentError, match="image file that Pillow reads"):
        read_image(tmp_path / "notes.txt")
    Image.fromarray(np.zeros((99, 120, 3), np.uint8)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:400])
    with pytest.raises(InterpixError, match=r"cut\.jpg"):
        read_image(tmp_path / "cut.jpg")


def test_another_type_is_a_type_error():
    with pytest.raises(ArgumentTypeError, match="got dict"):
        read_image({})


def test_display_of_a_constant_is_gray():
    np.testing.assert_array_equal(to_display(np.full((3, 2, 4), 7, np.float32)), np.full((2, 4, 3), 128))


def test_display_stretches_from_the_least_to_the_greatest_value():
    tensor = np.linspace(-2, 3, 24, dtype=np.float32).reshape(3, 2, 4)
    expected = np.rint(np.linspace(0, 255, 24)).reshape(3, 2, 4).transpose(1, 2, 0)
    np.testing.assert_array_equal(to_display(tensor), expected)


def of_all_kinds(folder):
    """One picture in each documented form, with the shape of a map of it."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(folder / "photo.png")
    planes = (pixels / np.float32(255)).transpose(2, 0, 1)
    torch = pytest.importorskip("torch")
    return {
        "PIL": picture,
        "path": folder / "photo.png",
        "text": str(folder / "photo.png"),
        "uint8": pixels,
        "uint8 batch": pixels[None],
        "uint8 tensor": torch.from_numpy(pixels),
        "float": planes,
        "float last": planes.transpose(1, 2, 0),
        "batch": planes[None],
        "tensor": torch.from_numpy(planes),
        "with gradient": torch.from_numpy(planes).requires_grad_(),
        "batch tensor": torch.from_numpy(planes[None]),
    }


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_propagate_takes_maps_of_each_layout_with_images_of_each_kind(tmp_path, channels):
    """F17, N30: each documented image with each documented layout of maps."""
    single = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    maps = single if channels is None else np.repeat(single[None, None], channels, axis=1) / channels
    found = {name: interpix.propagate(maps, image) for name, image in of_all_kinds(tmp_path).items()}
    for values in found.values():
        assert values.shape == ((20, 30) if channels is None else (1, 1, 20, 30))
        np.testing.assert_allclose(values, found["PIL"], rtol=1e-4)


def test_maps_and_images_of_different_numbers_are_refused():
    """F17: a batch of maps wants an image each."""
    with pytest.raises(ArgumentError, match=r"`image`: expected 2 images, one for each map of \(B, C, H, W\), got 3"):
        interpix.propagate(np.ones((2, 3, 4, 6), np.float32), np.zeros((3, 3, 4, 6), np.float32))


def test_a_batch_of_one_is_an_image_wherever_there_is_one(tmp_path):
    """F28: what one public call takes, every other takes."""
    tensor = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    model = lambda batch: batch.sum(axis=(2, 3))  # noqa: E731
    moxi = interpix.MoXI(model, regions="2x3")
    for image in (tensor, tensor[None]):
        assert moxi.contrast(image, 1).target == 1
        assert moxi.game(image).n_players == 6
        assert interpix.metrics.Sample.of(model, image).size == (20, 30)
        assert interpix.PixelGraph(image, 2).shape == (20, 30)
        assert interpix.methods.MoXIMap(regions="2x3").explain(model, image).map.shape == (20, 30)
        options = {"metrics": "insertion(baseline='zero')", "controls": False}
        assert len(interpix.compare(model, image, "moxi(regions='2x3')", **options).entries) == 2


@pytest.mark.parametrize("kind", ["numpy", "torch", "of one"])
def test_a_target_is_a_number_of_any_kind_wherever_there_is_one(kind):
    """F28: scalars of numpy and torch."""
    torch = pytest.importorskip("torch")
    target = {"numpy": np.uint8(1), "torch": torch.tensor(1), "of one": np.array([1])}[kind]
    tensor = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    model = lambda batch: batch.sum(axis=(2, 3))  # noqa: E731
    moxi = interpix.MoXI(model, regions="2x3")
    assert moxi.explain(tensor, target).target == 1
    assert moxi.contrast(tensor, target).target == 1
    assert moxi.game(tensor, target).target == 1
    assert interpix.metrics.Sample.of(model, tensor, target).target == 1
    assert interpix.methods.MoXIMap(regions="2x3").explain(model, tensor, target).target == 1
    found = interpix.compare(model, tensor, "moxi(regions='2x3')", "insertion(baseline='zero')", targets=target)
    assert found.entries[0].attribution.target == 1


def test_gray_arrays_are_gray_pictures():
    """N9: as pictures of mode "L" are."""
    gray = np.arange(24, dtype=np.uint8).reshape(4, 6)
    for array in (gray, gray[..., None]):
        np.testing.assert_array_equal(read_image(array).raw, read_image(Image.fromarray(gray)).raw)


def test_the_cure_for_one_channel_works():
    """F22: a gray image for a model of colors."""
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).random((1, 4, 6)).astype(np.float32)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Flatten(), torch.nn.Linear(48, 3))
    moxi = interpix.MoXI(module, regions="2x3")
    with pytest.raises(
        interpix.ModelError, match=r"the image has 1 channels: .*np\.repeat\(image, 3, axis=0\)"
    ) as caught:
        moxi.explain(image)
    (cure,) = re.findall(r"np\.repeat\(.*?\)", str(caught.value))
    assert moxi.explain(eval(cure, {"np": np, "image": image})).players == 6


def test_feature_masks_may_be_one_for_each_image():
    """F26: (B, H, W), as the docstring says."""
    images = np.random.default_rng(0).random((2, 3, 4, 6)).astype(np.float32)
    masks = np.stack([np.arange(24).reshape(4, 6) // 6, np.arange(24).reshape(4, 6) // 12])
    moxi = interpix.MoXI(lambda batch: batch.sum(axis=(2, 3)))
    for given in (masks, masks[:, None]):
        found = moxi.attribute(images, target=0, feature_mask=given)
        for image, mask, values in zip(images, masks, found, strict=True):
            np.testing.assert_array_equal(values, moxi.attribute(image, target=0, feature_mask=mask))


def test_pictures_that_pillow_refuses_are_refused_clearly(tmp_path, monkeypatch):
    """F29, R19: its own exceptions, and those of its readers."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ArgumentError, match=r"`image`: expected a picture of a size .*photo.png.*MAX_IMAGE_PIXELS"):
        read_image(path)
    monkeypatch.undo()
    whole = path.read_bytes()
    for damaged in (
        whole[:60],
        whole[:-30],
        b"DDS " + bytes(124),
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        b"II*\0" + bytes(40),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ArgumentError, match=r"`image`: .*photo.png"):
            read_image(path)
    path.write_bytes(whole[:-30])
    with Image.open(path) as lazy, pytest.raises(ArgumentError, match="`image`: the picture cannot be read"):
        read_image(lazy)

    def raising(*_):
        raise KeyError("a reader of Pillow's")

    monkeypatch.setattr(Image.Image, "convert", raising)
    path.write_bytes(whole)
    with pytest.raises(ArgumentError, match=r"cannot be read \(.a reader.*photo.png"):
        read_image(path)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "LA", "La", "PA", "RGBa", "RGBX"]
)
def test_pictures_of_every_mode_are_read(mode):
    """F29: also those that Pillow converts by a detour only."""
    picture = Image.new({"La": "LA", "RGBa": "RGBA"}.get(mode, mode), (6, 4))
    if picture.mode != mode:
        picture = picture.convert(mode)
    assert read_image(picture).raw.shape == (4, 6, 3)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 6), "m8[s]"),
        np.zeros((4, 6), "M8[s]"),
        np.zeros((4, 6), complex),
        np.full((4, 6), "a"),
        np.zeros((4, 6), bool),
    ],
)
def test_what_is_no_number_is_not_taken_for_one(values):
    """R24: times, texts and complex numbers."""
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(interpix.InterpixError, match="`attribution`: expected real numbers"):
        interpix.propagate(values, image)
    if values.dtype != bool:
        with pytest.raises(interpix.InterpixError, match="`absence`"):
            interpix.MoXI(lambda batch: batch.sum(axis=(2, 3)), absence=values).explain(np.ones((3, 4, 6), np.float32))
        with pytest.raises(interpix.ModelError, match="expected real numbers as logits"):
            interpix.MoXI(lambda batch: values[: len(batch), :3]).explain(np.ones((3, 4, 6), np.float32))


def test_gaps_of_masked_arrays_are_not_ignored():
    """R24: a masked array would lose its mask."""
    gaps = np.ma.masked_equal(np.arange(24.0).reshape(4, 6), 3)
    with pytest.raises(ArgumentError, match=r"`attribution`: .*got a masked array; fill its gaps: array.filled"):
        interpix.propagate(gaps, np.zeros((4, 6, 3), np.uint8))


def test_tensors_without_plain_numbers_are_refused():
    """R25: on the meta device, sparse, nested, quantized."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = {
            "on the meta device": torch.zeros(4, 6, device="meta"),
            "sparse": torch.eye(4, 6).to_sparse(),
            "nested": torch.nested.nested_tensor([torch.zeros(4), torch.zeros(6)]),
            "quantized": torch.quantize_per_tensor(torch.zeros(4, 6), 0.1, 0, torch.quint8),
        }
    for kind, tensor in tensors.items():
        with pytest.raises(
            ArgumentError, match=f"`attribution`: expected a dense tensor of numbers, got a tensor that is {kind}"
        ):
            interpix.propagate(tensor, np.zeros((4, 6, 3), np.uint8))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes have names here")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(ArgumentError, match=r"`image`: expected a file, got .* which is none"):
            read_image(path)
