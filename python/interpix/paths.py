"""Whether a path is there. Of a name that is too long, `pathlib` raises until Python 3.14; these say no."""

import os

__all__ = ["is_file", "is_folder", "is_there"]


def is_there(path: str | os.PathLike[str]) -> bool:
    r"""Whether there is anything.

    >>> is_there("."), is_there("a" * 300), is_there("no\0name")
    (True, False, False)
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether it is a file, or a link to one."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    return os.path.isdir(path)  # noqa: PTH112
