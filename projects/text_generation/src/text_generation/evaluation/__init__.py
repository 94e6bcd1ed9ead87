"""How good generated text is: its probability, its diversity, and what people prefer."""
