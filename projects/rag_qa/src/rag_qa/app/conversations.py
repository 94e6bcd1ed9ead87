"""Conversations: the turns that a question may refer to, by user, in memory alone."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from rag_qa.app.errors import ApiError
from rag_qa.protocols import Turn


@dataclass(frozen=True)
class RememberedTurn:
    """A turn and the documents that its answer was read from."""

    turn: Turn
    sources: frozenset[str]


@dataclass
class _Conversation:
    turns: list[RememberedTurn] = field(default_factory=list)


class Conversations:
    """Conversations of all users, each under a random id that the server chooses.

    An id of another user, one that was dropped and one that never was are the same to a caller. A turn is left out of
    the history as soon as one of its documents is not visible to the user any more: what was removed, or taken away
    from the user's groups, does not live on in later answers.
    """

    def __init__(self, turns: int, per_user: int) -> None:
        """Args:
        turns: newest turns kept of each conversation.
        per_user: conversations kept of each user.
        """
        self._turns, self._per_user = turns, per_user
        self._lock = threading.Lock()
        self._users: dict[str, OrderedDict[str, _Conversation]] = {}

    def begin(self, user: str) -> str:
        """A new conversation's id."""
        with self._lock:
            mine = self._users.setdefault(user, OrderedDict())
            identity = secrets.token_urlsafe(16)
            mine[identity] = _Conversation()
            if len(mine) > self._per_user:
                mine.popitem(last=False)
            return identity

    def history(self, user: str, identity: str, is_visible: Callable[[str], bool]) -> list[Turn]:
        """The turns so far, oldest first.

        Raises:
            ApiError: 404, the user has no such conversation.
        """
        with self._lock:
            mine = self._users.get(user, OrderedDict())
            if identity not in mine:
                raise ApiError(404, "no such conversation; leave conversation_id out to begin one")
            mine.move_to_end(identity)
            kept = list(mine[identity].turns)
        return [remembered.turn for remembered in kept if all(map(is_visible, remembered.sources))]

    def add(self, user: str, identity: str, turn: Turn, sources: frozenset[str]) -> None:
        """Remember a turn, unless its conversation has been dropped meanwhile."""
        with self._lock:
            conversation = self._users.get(user, OrderedDict()).get(identity)
            if conversation is not None:
                conversation.turns = [*conversation.turns, RememberedTurn(turn, sources)][-self._turns :]

    def end(self, user: str, identity: str) -> None:
        """Forget a conversation.

        Raises:
            ApiError: 404, the user has no such conversation.
        """
        with self._lock:
            if self._users.get(user, OrderedDict()).pop(identity, None) is None:
                raise ApiError(404, "no such conversation; leave conversation_id out to begin one")

    def forget_document(self, source: str) -> None:
        """Drop every turn that was read from a document: another one may come to bear its name."""
        with self._lock:
            for mine in self._users.values():
                for conversation in mine.values():
                    conversation.turns = [turn for turn in conversation.turns if source not in turn.sources]
