"""What stands where in a run folder of this project."""

PROJECT = "bert_sentiment"
"""Folder of the project's runs."""

MODEL = "model"
"""Folder of the trained model inside a run."""

PREDICTIONS = "predictions.jsonl"
"""What was predicted for each test text."""
