"""Fine-tuning methods against each other: the same texts, the same number of steps, each at its own best rate."""
