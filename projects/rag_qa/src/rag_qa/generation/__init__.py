"""From retrieved passages to answers, citations and refusals."""
