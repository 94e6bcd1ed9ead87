"""`python -m model_optimization` is the command `model-optimization`."""

import sys

from model_optimization.cli import main

if __name__ == "__main__":
    sys.exit(main())
