"""Votes: one JSON object a line, appended and forced to the disk one by one, so that nothing is lost.

Several processes may append to one file. What one that was killed left half written spoils its own line alone.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from roadmap_shared.errors import UserError
from text_generation.evaluation.rating.study import Item, Study
from text_generation.json_lines import Reject, append_line, json_lines, read_text

Winner = Literal["first", "second", "tie", "skip"]
Choice = Literal["a", "b", "tie", "skip"]
WINNERS = ("first", "second", "tie", "skip")
LONGEST_NAME = 40


@dataclass(frozen=True)
class Vote:
    """What a rater said about an item."""

    study: str
    """Fingerprint of the study."""

    item: str
    rater: str
    winner: Winner
    """The text, not the side; skip: no opinion, which counts for nothing."""

    swapped: bool
    """Whether the second text was shown as A."""

    seconds: float | None = None
    """From the showing to the vote."""

    time: str = ""
    """UTC, ISO 8601."""

    replaces: bool = False
    """The rater took back an earlier vote on this item; this one counts."""

    @property
    def chose_a(self) -> bool | None:
        """Whether the text shown as A won; None for a tie or a skip."""
        return None if self.winner in ("tie", "skip") else (self.winner == "first") != self.swapped


@dataclass(frozen=True)
class VoteFile:
    """The votes of files, each rater's last on an item, and the lines that could not be used."""

    votes: tuple[Vote, ...]
    rejects: tuple[Reject, ...]


def read_votes(paths: Sequence[Path], study: Study) -> VoteFile:
    """Read the votes on a study. A malformed line, an unknown item, or a second vote of a rater on an item that does
    not replace the first is passed over and reported.

    Raises:
        UserError: a file cannot be read, or holds votes on another study.
    """
    items = {item.item for item in study.items}
    votes: dict[tuple[str, str], Vote] = {}
    lines: dict[tuple[str, str], str] = {}
    rejects: list[Reject] = []
    for path in paths:
        for number, value in json_lines(read_text(path)):
            vote = value if isinstance(value, str) else _vote(value)
            if isinstance(vote, str):
                rejects.append(Reject(path, number, vote))
                continue
            place = (vote.rater, vote.item)
            if vote.study != study.fingerprint:
                raise UserError(
                    f"{path}:{number}: a vote on study {vote.study}, not on this one ({study.fingerprint}): the file "
                    "belongs to another study, or the study was changed since"
                )
            if vote.item not in items:
                rejects.append(Reject(path, number, f"item '{vote.item}' is not in the study"))
            elif place in votes and not vote.replaces:
                rejects.append(
                    Reject(path, number, f"{vote.rater} has voted on item {vote.item} already, in {lines[place]}")
                )
            else:
                votes[place] = vote
                lines[place] = f"line {number}" if len(paths) == 1 else f"{path.name}:{number}"
    return VoteFile(tuple(votes.values()), tuple(rejects))


def _vote(value: dict[str, Any]) -> Vote | str:
    """The vote of a line, or what is wrong with it."""
    for name in ("study", "item", "rater"):
        if not isinstance(value.get(name), str) or not value[name]:
            return f"{name} must be there, and a text"
    if value.get("winner") not in WINNERS:
        return f"winner must be one of {', '.join(WINNERS)}"
    if not isinstance(value.get("swapped"), bool):
        return "swapped must be true or false"
    return Vote(
        study=value["study"],
        item=value["item"],
        rater=value["rater"],
        winner=value["winner"],
        swapped=value["swapped"],
        seconds=_seconds(value.get("seconds")),
        time=str(value.get("time", "")),
        replaces=value.get("replaces") is True,
    )


def _seconds(value: Any) -> float | None:
    """A duration; None for what is none, for the vote is good without it."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return seconds if math.isfinite(seconds) else None


def rater_name(given: str) -> str:
    """A name with single blanks and nothing that cannot be printed, in one Unicode form.

    Raises:
        UserError: it is empty or too long.
    """
    printable = "".join(sign if sign.isprintable() else " " for sign in unicodedata.normalize("NFC", given))
    name = " ".join(printable.split())
    if not name:
        raise UserError("the rater needs a name: give one with --rater NAME")
    if len(name) > LONGEST_NAME:
        raise UserError(f"the rater's name has {len(name)} characters: give at most {LONGEST_NAME}")
    return name


class AlreadyVotedError(Exception):
    """The rater has voted on the item, and did not say that the vote be replaced."""


class VoteBook:
    """The votes on a study in a file that grows."""

    def __init__(self, study: Study, path: Path) -> None:
        """Read what is there.

        Raises:
            UserError: the file cannot be read, or belongs to another study.
        """
        self.study, self.path = study, path
        self._items = {item.item: item for item in study.items}
        self.rejects: tuple[Reject, ...] = ()
        self._votes: dict[tuple[str, str], Vote] = {}
        if path.exists():
            self._remember(read_votes([path], study))

    def _remember(self, found: VoteFile) -> None:
        self.rejects = found.rejects
        self._votes = {(vote.rater, vote.item): vote for vote in found.votes}

    def of(self, rater: str) -> dict[str, Vote]:
        """The rater's votes by item, in the order in which the items were first voted on."""
        return {item: vote for (name, item), vote in self._votes.items() if name == rater}

    def next_item(self, rater: str) -> Item | None:
        """The first item in the rater's order without a vote of theirs; None when all have one."""
        done = self.of(rater)
        return next((item for item in self.study.order(rater) if item.item not in done), None)

    def item(self, name: str) -> Item | None:
        """The item of that name, if there is one."""
        return self._items.get(name)

    def shown(self, item: Item, rater: str) -> tuple[str, str]:
        """The texts that this rater sees as A and B."""
        return (item.second, item.first) if self.study.swapped(rater) else (item.first, item.second)

    def vote(
        self, rater: str, item: Item, choice: Choice, *, seconds: float | None = None, replaces: bool = False
    ) -> Vote:
        """Append a vote to the file. When this returns, it is on the disk.

        Raises:
            AlreadyVotedError: without `replaces`, when there is one.
            UserError: the file cannot be written.
        """
        swapped = self.study.swapped(rater)
        sides: dict[str, Winner] = {"a": "second" if swapped else "first", "b": "first" if swapped else "second"}
        vote = Vote(
            study=self.study.fingerprint,
            item=item.item,
            rater=rater,
            winner=sides.get(choice, cast(Winner, choice)),
            swapped=swapped,
            seconds=None if seconds is None else round(seconds, 1),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            replaces=replaces,
        )
        if (rater, item.item) in self._votes and not replaces:
            raise AlreadyVotedError(item.item)
        try:
            append_line(self.path, asdict(vote))
        except OSError as error:
            raise UserError(f"{self.path}: the vote cannot be written ({error.strerror})") from error
        self._votes[rater, item.item] = vote
        return vote
