"""How good a classifier is, where it fails, and the figures that show it."""
