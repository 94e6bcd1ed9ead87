"""The classifier and how it is fine-tuned."""
