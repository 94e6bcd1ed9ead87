"""Fine-tune, compare, explain and serve sentiment classifiers."""
