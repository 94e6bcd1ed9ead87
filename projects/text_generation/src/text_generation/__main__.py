"""`python -m text_generation` is the command `text-generation`."""

import sys

from text_generation.cli import main

if __name__ == "__main__":
    sys.exit(main())
