"""Rows that studies keep, as lines of JSON: what has been interrupted goes on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_lines(path: Path, check: Callable[[Any], object]) -> list[dict[str, Any]]:
    """The rows that are kept, if any; a last line that was cut is taken away, so that rows may follow.

    Ends the program where `check` raises, as it does where something is missing.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeError) as error:
        raise SystemExit(f"{path} is no file of lines of JSON: {error}") from error
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        print(f"{path}: the last line was cut and is left out", file=sys.stderr)
        aside = path.with_suffix(".part")
        aside.write_text(whole, encoding="utf-8")
        aside.replace(path)
    rows = []
    for number, line in enumerate(whole.split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
            check(row)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{path}: line {number} is not what this script writes: {error!r}") from error
        rows.append(row)
    return rows
