"""The command `interpix`: the library's main jobs from a shell."""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from interpix import _core
from interpix.arrays import FloatArray
from interpix.checks import check_positive
from interpix.cli_evaluate import add_evaluate
from interpix.doctor import describe_machine
from interpix.drawing import png_bytes, require_matplotlib
from interpix.errors import ArgumentError, InterpixError, bad_value
from interpix.images import read_image
from interpix.masks import find_masks
from interpix.paths import is_folder, is_there
from interpix.results.base import save_all
from interpix.results.explanation import Explanation
from interpix.storage import check_output, make_folder, replace_file, require_space
from interpix.terms import Box, SearchDirection

__all__ = ["build_parser", "main"]

_DEFAULT_MODEL = "efficientnet_lite0"
_DEFAULT_STEPS = 12
_DEFAULT_METHODS = ("rise(count=500)", "moxi_one_shot", "moxi")
_DEFAULT_METRICS = ("insertion", "deletion", "dir")
_PARTLY = 1
"""Some photos could not be read."""
_USAGE_ERROR = 2
_INTERRUPTED = 130
_LEAST_SPACE = 20 << 20
"""Bytes: less room than this on the disk is not enough for any results."""
_MOST_DIGITS = 100
_JSON_FORMAT = 1
"""Of what `interpix explain` writes: docs/explain-1.schema.json."""
_FLAGS = {
    "min_patches": "--steps",
    "stop": "--steps",
    "width": "--width",
    "name": "--model",
    "model": "--model",
    "regions": "--regions",
    "target": "--target",
    "radius": "--radius",
    "discount": "--discount",
    "color_weight": "--color-weight",
    "methods": "--methods",
    "metrics": "--metrics",
    "masks": "--masks",
    "seed": "--seed",
    "folder": "--out",
    "path": "--out",
    "output": "--output",
    "prompts": "--prompts",
    "left": "--box",
    "top": "--box",
    "right": "--box",
    "bottom": "--box",
    "image": "photo",
    "images": "photos",
    "attribution": "map",
    "out": "--out",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "annotations",
            "classes",
            "shard",
            "workers",
            "engine",
            "address",
            "gpus",
            "preset",
            "batch_size",
            "threads",
            "config",
        )
    },
}
"""What the command calls the library's arguments."""
_CURES = {
    'pass search="beam"': "say --search beam",
    "`search` is": "--search is",
    "overwrite=True": "--overwrite",
    "or pass a torch model instead": "or a model of another library, as torchvision:resnet50",
    "use RISE, SuperpixelRISE, LIME, Shapley, MoXIMap or MoXIOneShot": "use rise, moxi or moxi_one_shot",
    "names; pass a dict": "names; name each once",
    "pass classes=, a file": "name --classes, a file",
    "or labels=False": "or --no-labels",
    'pass engine="ray"': "name --engine ray",
    "pass preset=": "name --preset",
    "or use workers=1": "or use --workers 1",
    "try workers=1": "try --workers 1",
    "pass one for each image, or leave it out": "name their folder, or leave it out",
}
"""What the command has for the library's cures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; errors of the input are one line on stderr and exit code 2."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        # Arrows and names that a terminal's encoding does not have become question marks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = build_parser().parse_args(arguments)
    try:
        status = int(options.run(options) or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has read enough, as `head` has; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InterpixError, OSError, MemoryError) as error:
        message = str(error) or "out of memory"
        sys.stderr.write(f"interpix: {_in_flags(' '.join(message.split()))}\n")
        return _USAGE_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interpix: interrupted\n")
        return _INTERRUPTED
    else:
        return status
    return 0


def _in_flags(message: str) -> str:
    """An error's message with what the command calls the argument.

    >>> _in_flags("`stop`: expected at least 1, got 0; or allow it with overwrite=True")
    '`--steps`: expected at least 1, got 0; or allow it with --overwrite'
    """
    named = re.match(r"`(\w+)`", message)
    if named and named[1] in _FLAGS:
        message = f"`{_FLAGS[named[1]]}`{message[named.end() :]}"
    for cure, own in _CURES.items():
        message = message.replace(cure, own)
    return message


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="interpix", description="Which pixels, together, made an image classifier say that?"
    )
    parser.add_argument("--version", action="version", version=f"interpix {_core.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_explain(commands)
    _add_propagate(commands)
    _add_compare(commands)
    add_evaluate(commands)
    models = commands.add_parser("models", help="list the native models and where their weights are looked for")
    models.set_defaults(run=_models)
    doctor = commands.add_parser("doctor", help="show versions, extras and threads, for a bug report")
    doctor.set_defaults(run=lambda _: print(describe_machine()))
    return parser


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser(
        "explain",
        help="find the patches that decide; writes PNG, JSON and safetensors",
        description="Each photo gets a picture, its numbers and its arrays, under its name. A photo that cannot be "
        "read costs its own, and exit status 1.",
    )
    explain.add_argument(
        "photos", nargs="+", metavar="photo", help="JPEG, PNG or whatever Pillow reads; a folder of them; - for stdin"
    )
    _add_model(explain)
    _add_output(explain)
    explain.add_argument(
        "--prompts",
        nargs="+",
        metavar="TEXT",
        help="what a model of images and texts (hf:ID) tells apart",
    )
    explain.add_argument(
        "--box", type=_read_box, metavar="L,T,R,B", help="of a detector: explain the box that it finds here (pixels)"
    )
    explain.add_argument(
        "--direction",
        choices=("each", "insertion", "deletion", "both"),
        default="each",
        help="which patches suffice (insertion), which are needed (deletion), one after the other (each, default); or "
        "which suffice and are needed at once (both)",
    )
    explain.add_argument(
        "--search",
        choices=("greedy", "beam", "bidirectional", "swap"),
        default="greedy",
        help="how groups are looked for (default: %(default)s, as MoXI does)",
    )
    explain.add_argument("--width", type=int, help="of a beam (default: 4)")
    explain.add_argument(
        "--minimal", action="store_true", help="leave out of a group what it does not need, patch by patch"
    )
    explain.add_argument("--target", help="class name or index (default: the model's answer)")
    explain.add_argument(
        "--regions", default="auto", help="patches: 7, 7x9, tokens, ... (default: 7 x 7 = 49, or a ViT's tokens)"
    )
    explain.add_argument(
        "--steps",
        type=int,
        default=_DEFAULT_STEPS,
        help="find so many patches, and more if the answer has not flipped by then (default: %(default)s)",
    )
    explain.add_argument(
        "--html", action="store_true", help="also a page with a slider over the steps, in which patches can be toggled"
    )
    _add_propagation(explain)
    explain.add_argument("-o", "--out", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    _add_overwrite(explain)
    explain.add_argument("--quiet", action="store_true", help="no progress on stderr")
    explain.set_defaults(run=_explain)


def _add_propagate(commands: Any) -> None:
    propagate = commands.add_parser("propagate", help="refine an attribution map along the image (IProp)")
    propagate.add_argument("photo", help="the image, of the same size as the map")
    propagate.add_argument("map", type=Path, help=".npy file: one map (H, W) or a stack of maps (M, H, W)")
    propagate.add_argument("-o", "--out", type=Path, required=True, help=".npy file to write")
    _add_propagation(propagate)
    _add_overwrite(propagate)
    propagate.set_defaults(run=_propagate)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare attribution methods over photos; writes an HTML report and JSON",
        description="Every method is scored with and without IProp. A run that was interrupted goes on when it is "
        "started again with the same folder.",
    )
    compare.add_argument("photos", nargs="+", type=Path, help="photos, or one folder of them")
    _add_model(compare)
    for flag, default, example in (
        ("--methods", _DEFAULT_METHODS, "rise(count=500)"),
        ("--metrics", _DEFAULT_METRICS, "insertion(steps=50)"),
    ):
        compare.add_argument(
            flag,
            nargs="+",
            default=default,
            metavar="NAME",
            help=f"names in interpix.{flag[2:]}, with options in brackets: '{example}' (default: {' '.join(default)})",
        )
    compare.add_argument(
        "--masks", type=Path, help="folder of pictures, bright inside of the object, named as the photos"
    )
    compare.add_argument(
        "--no-controls",
        dest="controls",
        action="store_false",
        help="no noise, edges and plain blurs beside the methods",
    )
    _add_output(compare)
    compare.add_argument("--seed", type=int, default=0, help="of the metrics' random choices (default: %(default)s)")
    compare.add_argument("-o", "--out", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    _add_overwrite(compare)
    compare.add_argument("--quiet", action="store_true", help="no progress on stderr")
    compare.set_defaults(run=_compare)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m",
        "--model",
        default=_DEFAULT_MODEL,
        help="native model, torch:NAME for it in torch, timm:NAME, torchvision:NAME or hf:ID (default: %(default)s)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        default="auto",
        metavar="WHAT",
        help="what the model's answers mean: softmax, sigmoid, probabilities, 'value(tolerance=2)', boxes, ... "
        "(default: softmax of several logits, sigmoid of one)",
    )


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of the same names, even if interpix did not write them"
    )


def _add_propagation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--radius", type=int, help="how far a pixel reaches (default: 1/32 of the longer side)")
    parser.add_argument(
        "--color-weight",
        type=float,
        default=1.0,
        help="0 ... 1.5, by what distances of colors are multiplied (default: 1)",
    )
    parser.add_argument("--discount", type=float, default=0.99, help="in 0 ... 1, how far it spreads (default: 0.99)")


def _explain(options: argparse.Namespace) -> int:
    require_matplotlib()
    import interpix  # heavy parts load when they are used
    from interpix.outputs import read_output
    from interpix.propagation import check_color_weight, check_discount, check_radius
    from interpix.regions import check_regions
    from interpix.search.rules import read_rules

    check_positive("min_patches", options.steps)
    read_rules("insertion", "flip", 0.0, 0, options.minimal, options.search, None, options.width)
    check_regions(options.regions)
    check_radius(options.radius)
    check_discount(options.discount)
    check_color_weight(options.color_weight)
    target = _read_target(options)
    output = "boxes" if options.box is not None and options.output == "auto" else options.output
    read_output(output)
    photos = _find_photos(options.photos)
    endings = ["json", "safetensors", "png", *(["html"] if options.html else [])]
    files = {name: [options.out / f"{name}.{ending}" for ending in endings] for name in photos}
    inputs = [one for one in photos.values() if isinstance(one, Path)]
    _check_outputs([file for some in files.values() for file in some], inputs, options)
    texts = {} if options.prompts is None else {"prompts": options.prompts}
    model = interpix.load_model(options.model, **texts)
    moxi = interpix.MoXI(model, regions=options.regions, output=output, keep_coalitions=options.html)
    failed = 0
    for name, photo in photos.items():
        if len(photos) > 1:
            print(f"{name}:")
        try:
            _explain_photo(moxi, options.out / name, read_image(photo).raw, target, options)
        except ArgumentError as error:  # it costs its own answer
            failed += 1
            if failed == len(photos):
                raise
            sys.stderr.write(f"interpix: {name}: {_in_flags(' '.join(str(error).split()))}\n")
    return _PARTLY if failed else 0


def _explain_photo(moxi: Any, stem: Path, image: Any, target: Any, options: argparse.Namespace) -> None:
    from interpix.plots import plot_overview  # heavy parts load when they are used

    directions: tuple[SearchDirection, ...] = ("insertion", "deletion")
    if options.direction != "each":
        directions = (options.direction,)
    results: list[Explanation] = []
    try:
        for direction in directions:
            results.append(_search(moxi, image, target, direction, options))  # noqa: PERF401 - kept after an error, too
    finally:
        # What one search found is there whatever becomes of the other.
        if results:
            _write_numbers(stem, results)
    _print_results(results)
    propagated = results[0].propagate(
        radius=options.radius, color_weight=options.color_weight, discount=options.discount
    )
    figure = plot_overview(*results, propagated=propagated)
    picture = png_bytes(figure, dpi=100, bbox_inches="tight", pad_inches=0.25)
    replace_file(f"{stem}.png", picture)
    page = ""
    if options.html:
        results[0].to_html(f"{stem}.html", *results[1:], overwrite=True)
        page = f"  page: {stem}.html"
    print(f"picture: {stem}.png  numbers: {stem}.json  arrays: {stem}.safetensors{page}")


def _find_photos(given: Sequence[str]) -> dict[str, Path | Image.Image]:
    """Photos by the names of their results: of files and folders, and what comes on stdin."""
    from interpix.comparison.specs import name_images  # heavy parts load when they are used

    found: list[tuple[str, Path | Image.Image]] = []
    if list(given).count("-") > 1:
        raise bad_value("images", "one photo on stdin", "- twice", "name it once")
    for one in given:
        if one == "-":
            found.append(("stdin", _read_stdin()))
        elif is_folder(one):
            found += [(path.stem, path) for path in map(Path, name_images(one).values())]  # type: ignore[arg-type]
        else:
            if not is_there(one):
                raise bad_value("image", "a file that exists", f"'{one}'", "check the path")
            found.append((Path(one).stem, Path(one)))
    named: dict[str, Path | Image.Image] = {}
    for name, photo in found:
        other = named.setdefault(name, photo)
        if other is not photo and not _is_same_file(other, photo):
            got = f"{other} and {photo}, which would both be {name}.png"
            raise bad_value(
                "images", "photos whose names differ before the dot", got, "give one of them a call of its own"
            )
    return named


def _is_same_file(one: object, other: object) -> bool:
    return isinstance(one, Path) and isinstance(other, Path) and one.samefile(other)


def _read_stdin() -> Image.Image:
    if sys.stdin is None or sys.stdin.isatty():
        raise bad_value("image", "a photo on stdin", "none", "pipe one in: interpix explain - < photo.jpg")
    try:
        picture = Image.open(io.BytesIO(sys.stdin.buffer.read()))
        picture.load()
    except Exception as error:  # a reader of Pillow's raises what it likes where a file is damaged
        raise bad_value("image", "a photo on stdin", f"what Pillow cannot read ({error})", "check it") from error
    return picture


def _read_box(text: str) -> Box:
    """Four numbers; what is wrong with them is the parser's to tell."""
    try:
        left, top, right, bottom = map(float, text.split(","))
        return Box(left, top, right, bottom)
    except ValueError as error:  # also of `Box`
        raise argparse.ArgumentTypeError(f"expected left,top,right,bottom in pixels, got {text!r} ({error})") from error


def _read_target(options: argparse.Namespace) -> Any:
    """A class index or name, a box, or None for the model's answer."""
    target = options.target
    if options.box is not None:
        if target is None:
            return options.box
        label = int(target) if _is_index(target) else target
        return dataclasses.replace(options.box, label=label)
    return int(target) if target is not None and _is_index(target) else target


def _is_index(text: str) -> bool:
    # Python refuses to read numbers of thousands of digits.
    return text.isdecimal() and len(text) < _MOST_DIGITS


def _check_outputs(files: Sequence[Path], inputs: Sequence[Path], options: argparse.Namespace) -> None:
    """Refuses, before any work, to write what would be lost, or where nothing can be written.

    Raises:
        ArgumentError: A file is an input, or interpix did not write it, or its folder cannot be written to.
    """
    taken = {(found.st_dev, found.st_ino) for found in (one.stat() for one in inputs if is_there(one))}
    for file in files:
        if is_there(file) and (file.stat().st_dev, file.stat().st_ino) in taken:
            raise bad_value("folder", "another folder or name than the photo's", f"'{file}'", "the photo would be lost")
    require_space(make_folder(files[0].parent), _LEAST_SPACE)
    for file in files:
        check_output(file, overwrite=options.overwrite, name="folder")


def _search(moxi: Any, image: Any, target: Any, direction: SearchDirection, options: argparse.Namespace) -> Explanation:
    """The first `--steps` patches, and where the answer has not flipped by then, those up to the flip."""
    result: Explanation = moxi.explain(
        image,
        target,
        direction=direction,
        # A search of groups puts no further patches in order.
        min_patches=0 if options.search in {"beam", "swap"} else options.steps,
        minimal=options.minimal,
        search=options.search,
        width=options.width,
        progress=not options.quiet,
    )
    return result


def _write_numbers(stem: Path, results: list[Explanation]) -> None:
    """What was computed, before anything is drawn of it; that it may be replaced is checked."""
    about = {"format": _JSON_FORMAT, "interpix": _core.__version__, "photo": stem.name}
    summary = about | {"results": [result.summary() for result in results]}
    # JSON has no infinity: the gap of a last patch, which had no rival, is null.
    replace_file(f"{stem}.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
    save_all(f"{stem}.safetensors", results, overwrite=True)


def _print_results(results: list[Explanation]) -> None:
    from interpix.words import group_title, photo_title  # heavy parts load when they are used

    print(photo_title(results[0]))
    for result in results:
        print(group_title(result))


def _read_photo(photo: str) -> Any:
    if is_folder(photo):
        raise bad_value("image", "one photo", f"the folder '{photo}'", "call it for each of the photos")
    return read_image(photo).raw


def _propagate(options: argparse.Namespace) -> None:
    from interpix.propagation import propagate  # heavy parts load when they are used

    _check_outputs([options.out], [Path(options.photo), options.map], options)
    image = _read_photo(options.photo)
    values = propagate(
        _read_map(options.map),
        image,
        radius=options.radius,
        color_weight=options.color_weight,
        discount=options.discount,
    )
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values), allow_pickle=False)
    replace_file(options.out, buffer.getvalue())
    print(f"propagated map: {options.out}")


def _read_map(path: Path) -> FloatArray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - of a header that something else wrote, numpy raises what Python's parser does
        raise bad_value("map", "an .npy file of numbers", f"'{path}'", "write it with numpy.save") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise bad_value("map", "an .npy file of numbers", f"'{path}'", "write it with numpy.save")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _compare(options: argparse.Namespace) -> int:
    import interpix  # heavy parts load when they are used
    from interpix.comparison.specs import name_images
    from interpix.report import report_files

    require_matplotlib()
    photos = name_images(options.photos[0] if len(options.photos) == 1 else options.photos)
    if options.masks is not None and not is_folder(options.masks):
        raise bad_value("masks", "a folder of pictures", f"'{options.masks}'", "check the path")
    masks = None if options.masks is None else find_masks([str(one) for one in photos.values()], options.masks)
    inputs = [*map(Path, photos.values()), *(masks or {}).values()]  # type: ignore[arg-type]
    if is_folder(options.out) and options.out.samefile(inputs[0].parent) and is_folder(options.photos[0]):
        cure = "its pictures would be taken for photos the next time"
        raise bad_value("folder", "another folder than that of the photos", f"'{options.out}'", cure)
    _check_outputs(report_files(options.out, len(photos)), inputs, options)
    try:
        comparison = interpix.compare(
            interpix.load_model(options.model),
            photos,
            options.methods,
            options.metrics,
            None if masks is None else dict(zip(photos, masks.values(), strict=True)),
            controls=options.controls,
            folder=options.out / "maps",
            seed=options.seed,
            output=options.output,
            progress=not options.quiet,
        )
    except Exception as error:
        # What was found until then is there whatever becomes of the rest.
        found = getattr(error, "comparison", None)
        if found is not None and found.entries:
            with contextlib.suppress(InterpixError, OSError):  # a full disk, say, which ended the rest
                page = found.report(options.out, overwrite=options.overwrite)
                sys.stderr.write(f"interpix: what was found until then: {page}\n")
        raise
    page = comparison.report(options.out, overwrite=options.overwrite)
    print(comparison)
    print(f"report: {page}  numbers: {options.out / 'comparison.json'}")
    for name, reason in comparison.failed.items():
        sys.stderr.write(f"interpix: {name}: {_in_flags(reason)}\n")
    return _PARTLY if comparison.failed else 0


def _models(_options: argparse.Namespace) -> None:
    from interpix.models.adapters.native import describe_models

    print(describe_models())
