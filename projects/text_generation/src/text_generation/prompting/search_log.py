"""The log of a prompt search: every score and variation on a line of its own, so that an interrupted search goes on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from text_generation.prompting.call_log import append_to_log, read_log


class SearchLog:
    """Scores and variations of one search, in memory and, where a path is given, in a JSONL file."""

    def __init__(self, path: Path | None, fingerprint: dict[str, Any]) -> None:
        """Args:
        path: the file. None: nothing is written.
        fingerprint: what makes this search this one; its digest is the first line.

        Raises:
            UserError: the file is of another search, or cannot be used.
        """
        self._path = path
        self._scores: dict[tuple[str, str], float] = {}
        self._variations: dict[tuple[str, int], list[str]] = {}
        if path is None:
            return
        digest = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
        records = read_log(path)
        if not records:
            append_to_log(path, {"search": digest})
        elif records[0] != {"search": digest}:
            raise UserError(
                f"{path}: is the log of another search (other instructions, cases or settings). Choose another file, "
                "or remove this one to begin anew."
            )
        for number, record in enumerate(records[1:], start=2):
            self._take(record, f"{path}, line {number}")

    def score(self, candidate: str, case: str) -> float | None:
        """The score of a candidate on a case, by their keys; None where it is unknown."""
        return self._scores.get((candidate, case))

    def add_scores(self, candidate: str, scores: Sequence[tuple[str, float]]) -> None:
        """Remember a candidate's scores by case."""
        for case, score in scores:
            self._scores[candidate, case] = score
            self._write({"candidate": candidate, "case": case, "score": score})

    def variations(self, instruction: str, number: int) -> list[str] | None:
        """What was proposed when so many variations were asked for; None where that never happened."""
        return self._variations.get((instruction, number))

    def add_variations(self, instruction: str, number: int, texts: Sequence[str]) -> None:
        """Remember what was proposed."""
        self._variations[instruction, number] = list(texts)
        self._write({"variations_of": instruction, "asked_for": number, "texts": list(texts)})

    def _write(self, record: dict[str, Any]) -> None:
        if self._path is not None:
            append_to_log(self._path, record)

    def _take(self, record: dict[str, Any], place: str) -> None:
        if set(record) == {"candidate", "case", "score"}:
            self._scores[record["candidate"], record["case"]] = record["score"]
        elif set(record) == {"variations_of", "asked_for", "texts"}:
            self._variations[record["variations_of"], record["asked_for"]] = record["texts"]
        else:
            raise UserError(f"{place}: is not a line of a search's log. Remove it.")
