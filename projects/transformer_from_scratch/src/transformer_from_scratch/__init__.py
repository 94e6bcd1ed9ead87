"""A Transformer written by hand, and what is needed to train, study and check it."""
