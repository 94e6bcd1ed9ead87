"""Project 3: generate, compare, prompt, fine-tune, align, evaluate and serve causal language models."""
