"""Training of causal language models: from nothing, on instructions, and towards what is preferred."""
