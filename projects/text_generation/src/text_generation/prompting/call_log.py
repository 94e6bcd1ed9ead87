"""A back end that remembers: every answer is appended to a file, and what stands there is not asked for again.

A study that was interrupted is repeated with the same file and goes on where it stopped, without paying twice.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from text_generation.backends.types import Backend, Generation, Likelihood, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.json_lines import BrokenJsonError, append_line, cut_torn_line, parsed


class LoggedBackend:
    """Implements `Backend` by another one and a JSONL file.

    Prompts are asked in chunks, and a chunk is one line of the file: random numbers belong to a prompt's place in its
    call, so that half a chunk could not be repeated exactly. With the same prompts, settings and seed, an interrupted
    study that is repeated ends with the very answers that it would have had. The name of the back end is part of what
    is remembered; a model that changes behind its name is not noticed. Where a server failed (`finish_reason`
    "error"), the chunk is not remembered, so that the next run asks again.
    """

    def __init__(self, backend: Backend, path: Path, *, chunk: int = 16) -> None:
        """Args:
            backend: who answers.
            path: the file; it is created with its folder. A last line that was cut off by a kill is removed.
            chunk: prompts a line: all that a kill can cost.

        Raises:
            UserError: the file cannot be read or written, or is not such a log.
        """
        self._backend, self._path, self._chunk = backend, path, chunk
        self.hits = 0
        """Chunks that were found in the file."""
        self._known = _read_answers(path)

    @property
    def name(self) -> str:
        """That of the back end."""
        return self._backend.name

    @property
    def context_window(self) -> int:
        """That of the back end."""
        return self._backend.context_window

    @property
    def counts_exactly(self) -> bool:
        """As the back end does."""
        return self._backend.counts_exactly

    def count_tokens(self, prompt: Prompt) -> int:
        """As the back end counts."""
        return self._backend.count_tokens(prompt)

    def generate(self, prompts: Sequence[Prompt], decoding: DecodingConfig, seed: int = 0) -> list[Generation]:
        """One answer for each prompt, from the file where it has them. Errors as for the back end."""
        answers: list[Generation] = []
        for start in range(0, len(prompts), self._chunk):
            chunk = prompts[start : start + self._chunk]
            asked = {
                "prompts": [_plain(prompt) for prompt in chunk],
                "decoding": asdict(decoding),
                "seed": seed,
                "at": start,
            }
            key = self._key("generate", asked)
            if key in self._known:
                self.hits += 1
                answers += [Generation(**{**kept, "tokens": tuple(kept["tokens"])}) for kept in self._known[key]]
                continue
            # Chunks must differ in their seed, or the n-th prompts of two chunks would share their random numbers.
            fresh = self._backend.generate(chunk, decoding, seed + 1_000_003 * start)
            if all(answer.finish_reason != "error" for answer in fresh):
                self._remember(key, [asdict(answer) for answer in fresh])
            answers += fresh
        return answers

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        """The back end's own stream: it is not remembered."""
        return self._backend.stream(prompt, decoding, seed)

    def likelihood(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How probable each continuation is, from the file where it has them. Errors as for the back end."""
        found: list[Likelihood] = []
        for start in range(0, len(pairs), self._chunk):
            chunk = pairs[start : start + self._chunk]
            key = self._key("likelihood", {"pairs": [[_plain(prompt), text] for prompt, text in chunk]})
            if key in self._known:
                self.hits += 1
                found += [Likelihood(**kept) for kept in self._known[key]]
                continue
            fresh = self._backend.likelihood(chunk)
            self._remember(key, [asdict(likelihood) for likelihood in fresh])
            found += fresh
        return found

    def _key(self, kind: str, asked: dict[str, Any]) -> str:
        content = json.dumps([kind, self.name, asked], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def _remember(self, key: str, values: list[dict[str, Any]]) -> None:
        append_to_log(self._path, {"key": key, "values": values})
        self._known[key] = values


def append_to_log(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON object as a line. When this returns, it is on the disk.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        append_line(path, record)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). Choose another file, or free some space."
        ) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the JSON objects of a log, and cut off a last line that a killed process left unfinished.

    Raises:
        UserError: the file cannot be read or written, or holds something else.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = cut_torn_line(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be used as a log ({error.strerror}). Choose another file.") from error
    records: list[dict[str, Any]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            record = parsed(line)
        except BrokenJsonError:
            record = None
        if not isinstance(record, dict):
            raise _no_line_of_a_log(path, number)
        records.append(record)
    return records


def _read_answers(path: Path) -> dict[str, list[dict[str, Any]]]:
    known: dict[str, list[dict[str, Any]]] = {}
    for number, record in enumerate(read_log(path), start=1):
        if set(record) != {"key", "values"}:
            raise _no_line_of_a_log(path, number)
        known[record["key"]] = record["values"]
    return known


def _no_line_of_a_log(path: Path, number: int) -> UserError:
    return UserError(f"{path}, line {number}: is not a line of such a log. Choose another file, or remove this line.")


def _plain(prompt: Prompt) -> Any:
    return prompt if isinstance(prompt, str) else [[message.role, message.content] for message in prompt]
