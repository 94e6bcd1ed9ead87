"""Prompts that a held-out document begins with: what a model of this corpus can be asked to go on from."""

from collections.abc import Sequence

from roadmap_shared.errors import UserError
from text_generation.backends.types import Prompt
from text_generation.corpora.stories.fields import parse_document
from text_generation.corpora.types import Corpus, Document

OPENING_WORDS = 8


def prompts_of(corpus: Corpus, count: int) -> Sequence[Prompt]:
    """The headers of held-out stories where the corpus has some, else the first words or the signature of held-out
    documents; no two alike.

    Raises:
        UserError: no held-out document is long enough.
    """
    kind = corpus.kinds[0]
    openings = [opening(document) for document in corpus.validation if document.kind == kind]
    prompts = list(dict.fromkeys(text for text in openings if text.strip()))[:count]
    if not prompts:
        raise UserError("no held-out document is long enough to take a prompt from: give longer texts")
    return prompts


def opening(document: Document) -> str:
    """The part of a document that stands as a prompt, "" if nothing would be left to write."""
    if document.kind == "story":
        return parse_document(document.text)[0].prompt
    if document.kind == "function":
        signature, colon, _ = document.text.partition(":\n")
        return f"{signature}{colon}" if colon else ""
    words = document.text.split(" ")
    return " ".join(words[:OPENING_WORDS]) if len(words) > 2 * OPENING_WORDS else ""
