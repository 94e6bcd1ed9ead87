"""What stands where in a run folder of this project."""

PROJECT = "model_optimization"
"""Folder of the project's runs."""

VARIANTS = "variants"
"""Folder of the variants inside a run, each in a folder of its name."""

CHOSEN = "chosen.txt"
"""Names the variant that is served."""

ORIGINAL = "original"
"""Name of the variant that all others are compared with."""
