"""`python -m bert_sentiment` is the command `bert-sentiment`."""

import sys

from bert_sentiment.cli import main

sys.exit(main())
