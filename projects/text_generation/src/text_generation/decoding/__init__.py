"""How the next token is chosen, compared and looked at."""
