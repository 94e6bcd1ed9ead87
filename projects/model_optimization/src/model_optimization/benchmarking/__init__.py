"""Measuring speed and memory on machines that are busy with other things."""
