"""What the six projects share: configuration, runs, tracking, metrics, reports and offline data."""

__version__ = "0.1.0"
