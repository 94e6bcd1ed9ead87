"""A held-out part that shares no group of documents with the training part."""

import hashlib
import random
from collections.abc import Sequence

from text_generation.corpora.types import Document


def hash_fraction(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed alone, on every machine alike."""
    digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def text_group(text: str) -> str:
    """What equal documents have in common: texts that differ in case and blanks only are equal."""
    folded = " ".join(text.casefold().split())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()


def split_documents(documents: Sequence[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """(training, validation) documents.

    A group is held out when its `hash_fraction` is below `share`: the side of a document depends on no other one, so a
    corpus that grows moves nothing. Where that leaves a side empty, the group nearest to the limit crosses it.

    Args:
        documents: of two groups at least.
        share: expected share of the groups that are held out.
        seed: of the hash, and of the order of the training documents.
    """
    fractions = {group: hash_fraction(group, seed) for group in {document.group for document in documents}}
    held_out = {group for group, fraction in fractions.items() if fraction < share}
    if not held_out:
        held_out = {min(fractions, key=fractions.__getitem__)}
    elif len(held_out) == len(fractions):
        held_out.remove(max(fractions, key=fractions.__getitem__))
    train = [document for document in documents if document.group not in held_out]
    validation = [document for document in documents if document.group in held_out]
    random.Random(seed).shuffle(train)
    return train, validation
