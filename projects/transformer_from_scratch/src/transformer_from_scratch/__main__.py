"""`python -m transformer_from_scratch` is the command `transformer-from-scratch`."""

import sys

from transformer_from_scratch.cli import main

sys.exit(main())
