"""`python -m rag_qa` is the command `rag-qa`."""

import sys

from rag_qa.cli import main

if __name__ == "__main__":
    sys.exit(main())
