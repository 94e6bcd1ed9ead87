"""Blind pairwise rating: studies, votes, the terminal, the web page, and what the votes say."""
