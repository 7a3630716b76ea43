"""`python -m interpix` is the command."""

import sys

from interpix.cli import main

if __name__ == "__main__":
    sys.exit(main())
