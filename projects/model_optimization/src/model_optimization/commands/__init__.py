"""What each command of `model-optimization` does."""
