"""Kills `evaluate` at random moments and starts it again: python tests/fuzz/kill_evaluate.py --kills 20 --images 2000.

Workers, the parent, and Ray's actors, each with SIGKILL. The rows must equal, to the bit but for the seconds, those of
a run that nobody killed; no more images than those in flight may be done again; no file may be left over.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import interpix as ix

_HERE = Path(__file__).parent
_WORKERS = 2
_RUN = """
import sys
import interpix as ix
import kill_models

if __name__ == "__main__":
    ix.evaluate(
        kill_models.model(),
        sys.argv[1],
        ["rise(count=32,grid=(3,4),baseline='zero')", "moxi(regions='2x3')", "moxi_one_shot(regions='2x3')"],
        ["insertion(steps=8)", "deletion(steps=8)", "aic(min_confidence=0)", "sic(min_confidence=0)"],
        sys.argv[2],
        workers=int(sys.argv[4]),
        engine=sys.argv[3],
    )
"""


def write_photos(folder, count):
    folder.mkdir()
    for index in range(count):
        random_numbers = np.random.default_rng(index)
        coarse = random_numbers.integers(0, 230, (4, 5, 3)).repeat(6, axis=0).repeat(6, axis=1)
        Image.fromarray((coarse + random_numbers.integers(0, 20, (24, 30, 3))).astype(np.uint8)).save(
            folder / f"{index:05}.png"
        )


def start(photos, out, engine, log):
    path = os.pathsep.join([str(_HERE), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": path, "KILL_LOG": str(log), "PYTHONWARNINGS": "ignore"}
    script = photos.parent / "run.py"
    script.write_text(_RUN)
    command = [sys.executable, str(script), str(photos), str(out), engine, str(_WORKERS)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def descendants(root):
    """All processes below one, with their command lines."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    found, level = [], [root]
    while level:
        level = [process for process, parent in parents.items() if parent in level]
        found += level
    lines = {}
    for process in found:
        try:
            lines[process] = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return lines


def workers_of(process):
    return [pid for pid, line in descendants(process.pid).items() if "spawn_main" in line or "ray::MapWorker" in line]


def kill(process, what, chance):
    """Kills the run or one of its workers; how many images that may have cost."""
    below = list(descendants(process.pid))
    if what == "parent":
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < deadline:
            time.sleep(0.2)
        return _WORKERS
    found = workers_of(process)
    if not found:
        return 0
    os.kill(chance.choice(found), signal.SIGKILL)
    return 1


def content(out):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in ix.load_evaluation(out).rows()]


def try_engine(engine, photos, expected, kills, chance, length):
    with tempfile.TemporaryDirectory() as work:
        out, log = Path(work) / "out", Path(work) / "log"
        process, cost, killed = start(photos, out, engine, log), 0, Counter()
        for _ in range(kills):
            time.sleep(chance.uniform(0.1, 1) * 2 * length / kills)
            if process.poll() is not None:
                assert process.returncode == 0, process.returncode
                break
            what = chance.choice(["parent", "worker"])
            spent = kill(process, what, chance)
            cost += spent
            killed[what] += bool(spent)
            if what == "parent":
                process = start(photos, out, engine, log)
        assert process.wait() == 0, process.returncode
        assert content(out) == expected, "not the same rows"
        again = len(log.read_text().splitlines()) - len(list(photos.iterdir()))
        assert 0 <= again <= cost, f"{again} images done again, {cost} were in flight"
        left = sorted(path.name for path in out.rglob("*") if path.is_file() and path.suffix != ".parquet")
        assert left == ["answers.safetensors", "config.toml"], left
        print(
            f"{engine}: {dict(killed)} killed, {again} images done again of {cost} in flight; all the same", flush=True
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos, whole = Path(folder) / "photos", Path(folder) / "whole"
        write_photos(photos, options.images)
        begun = time.monotonic()
        assert start(photos, whole, "local", Path(folder) / "log").wait() == 0
        length = time.monotonic() - begun
        print(f"{options.images} images without a kill: {length:.0f} s", flush=True)
        for engine in options.engines:
            try_engine(engine, photos, content(whole), options.kills, random.Random(options.seed), length)


if __name__ == "__main__":
    main()
