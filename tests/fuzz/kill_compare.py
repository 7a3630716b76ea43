"""Kills `interpix compare` at random moments and starts it again: python tests/fuzz/kill_compare.py --kills 20.

With the native model and with a torch model: the report must equal that of a run that nobody killed, to the bit but for
the seconds; what was finished must not be done again; no file must be left over.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_EXAMPLE = Path(__file__).parents[2] / "examples" / "coffee.jpg"
_WORK = ["--methods", "rise(count=64)", "moxi(regions='3x4')", "--metrics", "insertion(steps=8)", "aic", "--quiet"]
_NATIVE = """
import sys
from interpix import cli
sys.exit(cli.main(sys.argv[1:]))
"""
_TORCH = """
import sys, numpy as np, torch, interpix as ix
from interpix import cli
torch.manual_seed(0)
torch.set_num_threads(1)
layers = [torch.nn.Conv2d(3, 16, 5, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 5, stride=2), torch.nn.ReLU()]
module = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(64, 5)).eval()
def preprocess(image):
    return np.asarray(image.resize((96, 72)), np.float32).transpose(2, 0, 1) / 255
model = ix.TorchClassifier(module, preprocess=preprocess)
ix.load_model = lambda _name: model
sys.exit(cli.main(sys.argv[1:]))
"""


def command(kind, photos, out):
    return [
        sys.executable,
        "-c",
        _NATIVE if kind == "native" else _TORCH,
        "compare",
        str(photos),
        *_WORK,
        "-o",
        str(out),
    ]


def contents(folder):
    """Every file but the seconds, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "seconds.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def reports(folder):
    return {name: content for name, content in contents(folder).items() if not name.startswith("maps")}


def stamps(folder):
    return {
        path.name: path.stat().st_mtime_ns
        for path in (folder / "maps").glob("[0-9a-f]*")
        if path.suffix == ".safetensors"
    }


def try_kind(kind, photos, kills, chance):
    with tempfile.TemporaryDirectory() as work:
        whole, killed = Path(work) / "whole", Path(work) / "killed"
        start = time.monotonic()
        subprocess.run(command(kind, photos, whole), check=True, stdout=subprocess.DEVNULL)
        length = time.monotonic() - start
        done = {}
        for _ in range(kills):
            process = subprocess.Popen(command(kind, photos, killed), stdout=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.1, 0.7) * length)
            process.kill()
            process.wait()
            now = stamps(killed) if killed.exists() else {}
            again = [name for name, stamp in done.items() if now.get(name) != stamp]
            assert not again, f"finished, and done again: {again}"
            done = now
        finished = len(done)
        subprocess.run(command(kind, photos, killed), check=True, stdout=subprocess.DEVNULL)
        assert all(stamps(killed)[name] == stamp for name, stamp in done.items()), "finished, and done again"
        found, expected = reports(killed), reports(whole)
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        other = [name for name, content in expected.items() if found[name] != content]
        assert not other, f"not the same: {other}"
        kept, wanted = contents(killed).keys(), contents(whole).keys()
        assert kept == wanted, f"left over or missing: {kept ^ wanted}"
        print(f"{kind}: {kills} kills of a run of {length:.1f} s, {finished} files kept from them; all the same")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = np.asarray(Image.open(_EXAMPLE).convert("RGB").resize((300, 220)))
        for index in range(3):
            Image.fromarray(np.roll(photo, 40 * index, axis=1)).save(Path(folder) / f"{index}.png")
        for kind in ("native", "torch"):
            try_kind(kind, Path(folder), options.kills, random.Random(options.seed))


if __name__ == "__main__":
    main()
