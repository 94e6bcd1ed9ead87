"""A trained classifier at work: predictions and what they rest on."""
