"""How good retrieval and answers are, and why a question failed."""
