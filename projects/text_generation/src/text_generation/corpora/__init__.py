"""Texts to train on: built-in stories and standard-library functions, files, and data sets of the hub."""
