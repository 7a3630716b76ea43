"""Goes on looking: python tests/fuzz/run.py --minutes 60. See README.md beside this file."""

import argparse
import sys
import time
import traceback
from collections import Counter

from checks import CHECKS


def main():
    """Runs the checks in turn until the time is over; the exit status is the number of failures, at most 100."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None, help="the first seed (default: the time)")
    parser.add_argument("--count", type=int, help="so many seeds of each, whatever the time")
    parser.add_argument("checks", nargs="*", default=[], help=f"of {', '.join(CHECKS)} (default: all)")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    until, done, failed, spent = time.monotonic() + 60 * options.minutes, Counter(), 0, Counter()
    names = options.checks or list(CHECKS)
    while time.monotonic() < until if options.count is None else sum(done.values()) < options.count * len(names):
        # So that quick checks do not wait for slow ones, the one that has had the least time is next.
        name = min(names, key=spent.__getitem__)
        number, start = seed + done[name], time.monotonic()
        try:
            CHECKS[name](number)
        except Exception:  # noqa: BLE001 - whatever it is, it is told, and the next one tried
            failed += 1
            traceback.print_exc()
            print(f"repeat it: python tests/fuzz/run.py --count 1 --seed {number} {name}\n", flush=True)
        done[name] += 1
        spent[name] += time.monotonic() - start
    print(", ".join(f"{name}: {done[name]}" for name in names), f"from seed {seed}; {failed} failed")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
