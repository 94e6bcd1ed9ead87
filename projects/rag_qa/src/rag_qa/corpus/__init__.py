"""The corpus that ships with the project, and questions about a corpus: the built-in ones and a user's own."""
