import numpy as np
import pytest
from PIL import Image

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
        (np.zeros((4, 6), np.uint8), r"raw uint8 image of shape \(H, W, 3\).*channels last"),
        (np.zeros((3, 4, 6), np.uint8), "channels last"),
        (np.zeros((4, 6, 3), np.float32), r"preprocessed float image \(3, H, W\).*must be uint8"),
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
