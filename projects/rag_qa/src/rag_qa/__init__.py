"""Project 4: question answering over your own documents, with citations that can be checked."""
