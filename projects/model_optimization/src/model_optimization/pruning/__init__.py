"""Fewer weights: single ones, neurons, heads and layers."""
