"""What answers a prompt: a local model, a server, or a script."""
