"""Code from a model: extracted, executed in a sandbox, verified against tests, reviewed and scored."""
