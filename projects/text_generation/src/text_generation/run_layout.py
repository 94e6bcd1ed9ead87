"""What stands where in the runs of this project."""

PROJECT = "text_generation"
"""Folder of the project's runs."""

MODELS = "models"
"""Folder beside the runs that keeps trained models for the next run with the same settings."""

MICROSCOPE = "microscope.html"
"""Page in a run folder that shows one generation token by token."""

STORIES = "stories.jsonl"
"""What was generated for each held-out header, and which demands it meets."""
