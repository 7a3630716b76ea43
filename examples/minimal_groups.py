"""How much can be left out of the groups that greedy search finds, and what does finding out cost?

pip install "interpix[demo]"
pip install --no-deps foolbox==3.3.4            # 20 photos of ImageNet classes
python examples/minimal_groups.py               # minutes on a core
"""

import importlib.util
from pathlib import Path

import numpy as np

import interpix as ix


def main() -> None:
    """Prints a row of the table in docs/results.md for each direction."""
    found = importlib.util.find_spec("foolbox")
    if found is None or found.submodule_search_locations is None:
        raise SystemExit("pip install --no-deps foolbox==3.3.4")
    photos = sorted((Path(found.submodule_search_locations[0]) / "data").glob("imagenet*"))
    moxi = ix.MoXI(ix.load_model("efficientnet_lite0"))
    for direction in ("insertion", "deletion"):
        greedy = [moxi.explain(photo, direction=direction) for photo in photos]
        pruned = [moxi.explain(photo, direction=direction, minimal=True) for photo in photos]
        sizes = np.array([[len(one.group) for one in results] for results in (greedy, pruned)])
        asked = np.array([[one.evaluations for one in results] for results in (greedy, pruned)])
        print(
            f"{direction}: {sizes[0].mean():.2f} patches, {sizes[1].mean():.2f} of them needed; smaller on "
            f"{(sizes[1] < sizes[0]).sum()} of {len(photos)} photos, by up to {(sizes[0] - sizes[1]).max()}; "
            f"{asked[1].sum() / asked[0].sum() - 1:+.1%} evaluations"
        )


if __name__ == "__main__":
    main()
