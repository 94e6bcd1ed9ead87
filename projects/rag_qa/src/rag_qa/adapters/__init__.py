"""The index inside other frameworks, and bulk embedding on a cluster. Each module needs an extra of its own."""
