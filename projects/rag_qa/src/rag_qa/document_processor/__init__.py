"""From files to chunks in a vector store."""
