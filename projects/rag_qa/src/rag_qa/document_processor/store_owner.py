"""To which index a server's collection belongs.

The ids of vectors are those of the chunks in one index's database. Two indexes in one collection would take each
other's vectors for the leftovers of a killed writer and remove them, so a collection carries the name of its index.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self

from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StoreOwner:
    """What an index writes on its collection."""

    index: str
    """Random, made with the index; a copy of its folder keeps it."""

    encoder: str
    fingerprint: str
    """Of the encoder, as in `rag_qa.protocols.Encoder`."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None) -> Self | None:
        """The owner that `to_json` wrote; None: the text says something else."""
        try:
            return cls(**json.loads(text or ""))
        except (ValueError, TypeError):
            return None


def takes_over(
    owner: StoreOwner, found: StoreOwner | None, count: Callable[[], int], *, place: str, remedy: str
) -> bool:
    """Whether an owner is to be written on a collection that is there: it is empty, and another's or nobody's.

    Args:
        owner: who opens it.
        found: who is written on it.
        count: number of its vectors, asked for only where it matters.
        place: server and collection, for the message.
        remedy: how the collection is deleted, for the message.

    Raises:
        UserError: it holds vectors of another index.
    """
    if found is not None and found.index == owner.index:
        return False
    if not (held := count()):
        return True
    if found is None:
        whose = "that no index is written on"
    elif found.fingerprint == owner.fingerprint:
        whose = "of another index"
    else:
        whose = f"of another index, made by another encoder ({found.encoder})"
    raise UserError(
        f"{place} holds {held} vectors {whose}: give another --store.collection, or, if nobody needs them, {remedy}"
    )


def still_mine(owner: StoreOwner | None, found: StoreOwner | None, *, place: str) -> None:
    """Raises UserError: an index that began at the same time has taken the empty collection over."""
    if owner is not None and (found is None or found.index != owner.index):
        raise UserError(f"{place} has been taken over by another index: give another --store.collection to one of them")
