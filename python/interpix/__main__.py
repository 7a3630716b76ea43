"""`python -m interpix` is the command."""

import sys

from interpix.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
