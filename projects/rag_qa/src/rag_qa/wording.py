"""What a terminal and a page both say of documents."""


def has_pages(source: str) -> bool:
    """Whether a document's pages are something that a reader can turn to."""
    return source.lower().endswith(".pdf")


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 chunk, 2 chunks."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
