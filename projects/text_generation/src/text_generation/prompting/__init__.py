"""Prompts as things that are written, versioned, measured and attacked: templates, examples, votes, searches,
defences."""
