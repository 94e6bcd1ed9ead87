"""Fewer bits a weight: the arithmetic by hand, and the libraries that compute with it."""
