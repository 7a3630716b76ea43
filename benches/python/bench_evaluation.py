"""What `evaluate` costs beside the calls that it makes, what more workers bring, and what large manifests take.

    python benches/python/bench_evaluation.py overhead workers ray manifest memory rows

With a small model and pictures of 24 x 30 pixels, an image takes some tenths of a second.
"""

import argparse
import csv
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

# Before numpy is there: several threads on busy cores slow it down, and would be compared with workers of one.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np
from PIL import Image

import interpix as ix
from interpix.comparison.specs import read_methods, read_metrics
from interpix.comparison.variants import make_map, make_variants, score_variant
from interpix.evaluation import run as evaluation_run
from interpix.evaluation.config import write_config
from interpix.evaluation.rows import COLUMNS, rows_folder, schema
from interpix.evaluation.worker import Worker
from interpix.metrics import Sample

METHODS = ["rise(count=64,grid=(3,4),baseline='zero')", "moxi_one_shot(regions='3x4')"]
METRICS = ["insertion(steps=20)", "deletion(steps=20)", "sic(min_confidence=0)"]
PARTS = ("overhead", "workers", "ray", "manifest", "memory", "rows")


def logits(batch):
    half = batch.shape[-1] // 2
    left, right = batch[..., :half], batch[..., half:]
    return np.stack(
        [9 * left[:, 0].mean((1, 2)), 9 * right[:, 1].mean((1, 2)), 6 * batch[:, 2].mean((1, 2)) + 2], axis=1
    )


def preprocess(raw):
    return np.ascontiguousarray(raw.transpose(2, 0, 1), np.float32) / np.float32(255)


def model():
    return ix.CallableClassifier(logits, name="halves", preprocess=preprocess)


def write_photos(folder, count, *, scale=6):
    folder.mkdir()
    for index in range(count):
        numbers = np.random.default_rng(index)
        coarse = numbers.integers(0, 230, (4, 5, 3)).repeat(scale, axis=0).repeat(scale, axis=1)
        pixels = coarse + numbers.integers(0, 20, coarse.shape)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:05}.png")
    return folder


def timed(call):
    begun = time.perf_counter()
    found = call()
    return time.perf_counter() - begun, found


def run(photos, out, **options):
    return ix.evaluate(model(), photos, METHODS, METRICS, out, **options)


def bare(photos):
    """What an image costs without a folder of results."""
    scorers, classifier = read_metrics(METRICS), model()
    values = []
    for path in sorted(photos.iterdir()):
        sample, maps = Sample.of(classifier, path), {}
        for one in make_variants(read_methods(METHODS), propagate=True, controls=True):
            maps[one.name] = make_map(one, sample, None if one.source is None else maps[one.source])
            values += [score.value for score in score_variant(sample, one.explainer, maps[one.name], scorers).values()]
    return values


def overhead(work):
    """What the loop over images takes beside scoring them, journals and shards, in seconds of the processor."""
    photos = write_photos(work / "photos", 40)
    values = bare(photos)
    run(write_photos(work / "few", 1), work / "first")  # imports
    took = {"score": 0.0, "loop": 0.0}

    def watch(owner, name, what):
        original = getattr(owner, name)

        def watched(*arguments, **options):
            begun = time.process_time()
            try:
                return original(*arguments, **options)
            finally:
                took[what] += time.process_time() - begun

        setattr(owner, name, watched)
        return lambda: setattr(owner, name, original)

    undo = [watch(Worker, "_score_image", "score"), watch(evaluation_run, "_follow", "loop")]
    found = run(photos, work / "out")
    for one in undo:
        one()
    kept = [row["value"] for row in found.rows()]
    np.testing.assert_array_equal([np.nan if one is None else one for one in kept], values)
    share = took["loop"] / took["score"] - 1
    print(f"40 images: {took['score']:.2f} s to score them, {took['loop']:.2f} s with all else: {share:+.1%}")
    assert share < 0.03


def workers(work):
    photos = write_photos(work / "photos", 200)
    one, first = timed(lambda: run(photos, work / "one"))
    two, second = timed(lambda: run(photos, work / "two", workers=2))
    assert [row["value"] for row in first.rows()] == [row["value"] for row in second.rows()]
    print(f"200 images: 1 worker {one:.1f} s, 2 workers {two:.1f} s, {one / two:.2f} times as fast with their start")


def ray(work):
    photos = write_photos(work / "photos", 200)
    one, first = timed(lambda: run(photos, work / "one"))
    two, second = timed(lambda: run(photos, work / "two", workers=2, engine="ray"))
    assert [row["value"] for row in first.rows()] == [row["value"] for row in second.rows()]
    print(
        f"200 images: 1 worker {one:.1f} s, 2 actors of Ray {two:.1f} s, {one / two:.2f} times as fast with its start"
    )


class _FirstError(Exception):
    """The first image was reached."""


def manifest(work):
    """50,000 images in a manifest: how long until the first is scored, and what memory that takes."""
    photos = write_photos(work / "photos", 1)
    whole = (photos / "00000.png").read_bytes()
    with (photos / "list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "label", "boxes"])
        for index in range(50_000):
            (photos / f"{index:05}.png").write_bytes(whole)
            table.writerow([f"{index:05}.png", index % 3, "[[2, 2, 20, 18]]"])

    def first(self, item, attempt):
        raise _FirstError

    original, Worker.run = Worker.run, first
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    try:
        ix.evaluate(model(), photos / "list.csv", METHODS, METRICS, work / "out")
    except _FirstError:
        seconds = time.perf_counter() - begun
    Worker.run = original
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"50,000 images: {seconds:.1f} s until the first, {peak >> 10} MiB in all, {(peak - before) >> 10} MiB for them"
    )
    assert seconds < 10
    assert peak < 1 << 20


def memory(work):
    """What a worker has after 500, 1,000, ... 5,000 images."""
    photos = write_photos(work / "photos", 5000)
    original, done, sizes = Worker.run, [], []

    def watched(self, item, attempt=0):
        outcome = original(self, item, attempt)
        done.append(1)
        if len(done) % 500 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize() >> 20)
        return outcome

    Worker.run = watched
    ix.evaluate(model(), photos, ["moxi_one_shot(regions='2x3')"], "insertion(steps=5)", work / "out", controls=False)
    Worker.run = original
    print(f"5,000 images, MiB after each 500: {sizes}")
    assert sizes[-1] - sizes[1] < 20


def write_rows(out, images, *, metrics=12, each=256):
    """A folder of results as one of so many images has it: three methods with IProp and blur, so many metrics."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows_folder(out).mkdir(parents=True)
    names = ["a", "b", "c"]
    variants = [(name, False, False) for name in names] + [(name, True, False) for name in names]
    variants += [(f"blur({name})", False, True) for name in names]
    tables = [
        {
            "name": f"IProp({name})" if propagated else name,
            "method": name,
            "propagated": propagated,
            "control": control,
            "against": [f"blur({name})"] if propagated else [],
        }
        for name, propagated, control in variants
    ]
    better = {f"m{metric}": "higher" for metric in range(metrics)}
    write_config(out, {}, {"images": images, "better": better, "variants": tables})
    cells = [(*variant, f"m{metric}") for variant in variants for metric in range(metrics)]
    random = np.random.default_rng(0)
    for number, start in enumerate(range(0, images, each)):
        count = min(each, images - start)
        method, propagated, control, metric = zip(*cells, strict=True)
        length = count * len(cells)
        columns = {
            "image": np.repeat(
                [f"class{index % 1000:04}/{index:08}.jpg" for index in range(start, start + count)], 108
            ),
            "method": method * count,
            "propagated": propagated * count,
            "control": control * count,
            "metric": metric * count,
            "value": random.random(length),
            "status": ["ok"] * length,
            "reason": [None] * length,
            "seconds": random.random(length),
            "target": [1] * length,
            "prediction": [1] * length,
            "probability": random.random(length),
            "attempt": [0] * length,
            "key": ["[1,null,[]]"] * length,
        }
        table = pa.table({name: columns[name] for name in COLUMNS}, schema=schema())
        pq.write_table(table, rows_folder(out) / f"1of1-0-{number:06}.parquet", compression="zstd")


def rows(work):
    """50,000 images by 9 maps by 12 metrics: how long until they are read, and until the table is there."""
    write_rows(work / "out", 50_000)
    reading, found = timed(lambda: ix.load_evaluation(work / "out"))
    summing, text = timed(lambda: str(found))
    assert "50000 of 50000 images" in text
    assert abs(found.summary("IProp(a)", "m3").mean - 0.5) < 0.01
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{len(found.data):,} rows: {reading:.1f} s to read them, {summing:.1f} s for the table; {peak} MiB")
    assert reading + summing < 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=["overhead", "workers"])
    for part in parser.parse_args().parts:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{part}:", flush=True)
            globals()[part](Path(folder))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
