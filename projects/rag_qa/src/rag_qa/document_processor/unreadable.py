"""What is raised for a file that yields no document; the other files of a folder are read all the same."""

from roadmap_shared.errors import UserError


class UnreadableDocument(UserError):
    """A file that cannot be read, with its name, the reason and the remedy in one line."""


class UnsupportedFormat(UnreadableDocument):
    """A file of a kind that has no reader: skipped, rather than failed."""


class PasswordNeeded(UnreadableDocument):
    """An encrypted file without its password."""
