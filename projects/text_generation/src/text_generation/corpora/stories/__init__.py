"""Story worlds: short stories from a grammar, with control fields that make obedience exactly checkable."""
