"""Stories in steps, chat sessions, and whether a text does what was asked."""
