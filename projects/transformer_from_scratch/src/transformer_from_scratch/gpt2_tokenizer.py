"""GPT-2's tokenizer from its published files: our byte-level BPE, with the ids that the files give.

Either `vocab.json` (token to id) with `merges.txt` (one merge a line), or `tokenizer.json`, which holds both.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from roadmap_shared.errors import UserError, one_line
from transformer_from_scratch.tokenizers.bpe import ByteBPETokenizer, Merge, parse_merges, to_printable

END_OF_TEXT = "<|endoftext|>"
"""GPT-2's only special token: stands between documents, and ends a generated one."""


class GPT2Tokenizer(ByteBPETokenizer):
    """Byte-level BPE whose ids come from a vocabulary instead of the order of the merges.

    As with every tokenizer here, `encode` never returns a special token, not even for a text that spells
    `<|endoftext|>`; Hugging Face's does.

    Args:
        vocabulary: id of each token, written as in `vocab.json`. A token that is no byte and that no merge
            makes is special.
        merges: in the order of their making.

    Raises:
        UserError: a byte or the result of a merge has no id, or two tokens have the same id.
    """

    kind: ClassVar[str] = "gpt2"

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[Merge]) -> None:
        super().__init__(merges)
        text_of = {token: to_printable(token) for token in self._ids}
        for text in text_of.values():
            if text not in vocabulary:
                raise UserError(f"damaged GPT-2 tokenizer: token {text!r} of its merges has no id")
        if len(set(vocabulary.values())) != len(vocabulary) or min(vocabulary.values()) < 0:
            raise UserError("damaged GPT-2 tokenizer: ids must be distinct and not negative")
        self._ids = {token: vocabulary[text] for token, text in text_of.items()}
        self._values = [b""] * (max(vocabulary.values()) + 1)
        for token, token_id in self._ids.items():
            self._values[token_id] = token
        ordinary = set(text_of.values())
        self._special_ids = {text: token_id for text, token_id in vocabulary.items() if text not in ordinary}
        self.special_tokens = tuple(self._special_ids)

    def special_id(self, name: str) -> int:
        """Id of the special token `name`. Raises UserError if there is none of that name."""
        if name not in self._special_ids:
            known = ", ".join(self.special_tokens) or "none"
            raise UserError(f"the tokenizer has no special token {name!r} (it has: {known})")
        return self._special_ids[name]

    def token_text(self, token_id: int) -> str:
        """The token as a label for figures and tables, as in `Tokenizer.token_text`."""
        for name, special_id in self._special_ids.items():
            if token_id == special_id:
                return name
        return super().token_text(token_id)

    def to_json(self) -> dict[str, Any]:
        """Vocabulary and merges, written as in GPT-2's own files."""
        vocabulary = {to_printable(token): token_id for token, token_id in self._ids.items()} | self._special_ids
        return {"kind": self.kind, "vocabulary": vocabulary, "merges": super().to_json()["merges"]}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The tokenizer that `to_json` described. Raises UserError for foreign or damaged data."""
        if not isinstance(data, Mapping) or data.get("kind") != cls.kind:
            raise UserError(f"not the JSON of a {cls.kind} tokenizer: expected an object with 'kind': {cls.kind!r}")
        return cls(checked_vocabulary(data.get("vocabulary")), parse_merges(checked_lines(data.get("merges"))))


def load_gpt2_tokenizer(folder: Path) -> GPT2Tokenizer | None:
    """The tokenizer in a Hugging Face folder; None where there is none. Raises UserError for damaged
    files.
    """
    vocabulary_file, merges_file, joint_file = (
        folder / name for name in ("vocab.json", "merges.txt", "tokenizer.json")
    )
    try:
        if vocabulary_file.exists() and merges_file.exists():
            vocabulary = json.loads(vocabulary_file.read_text(encoding="utf-8"))
            lines = merges_file.read_text(encoding="utf-8").split("\n")
            # Only the first line can be a comment: "# #" is a merge.
            lines = [line for line in lines[lines[0].startswith("#version") :] if line]
        elif joint_file.exists():
            vocabulary, lines = read_joint_file(json.loads(joint_file.read_text(encoding="utf-8")))
        else:
            return None
        return GPT2Tokenizer(checked_vocabulary(vocabulary), parse_merges(checked_lines(lines)))
    except (ValueError, UserError) as error:
        raise UserError(f"the tokenizer in {folder} cannot be read: {one_line(error)}") from None


def read_joint_file(data: object) -> tuple[object, object]:
    """Vocabulary, special tokens included, and merge lines of a `tokenizer.json`.

    Raises UserError unless the file describes byte-level BPE as GPT-2 has it, without normalisation or added
    spaces.
    """
    sections = data if isinstance(data, Mapping) else {}
    model, splitter = sections.get("model"), sections.get("pre_tokenizer")
    if not isinstance(model, Mapping) or not isinstance(splitter, Mapping) or model.get("type", "BPE") != "BPE":
        raise UserError("tokenizer.json describes no byte-level BPE")
    is_gpt2 = splitter.get("type") == "ByteLevel" and splitter.get("use_regex", True)
    if not is_gpt2 or splitter.get("add_prefix_space") or sections.get("normalizer") is not None:
        raise UserError("tokenizer.json cuts texts into words otherwise than GPT-2")
    added = {token["content"]: token["id"] for token in sections.get("added_tokens") or ()}
    lines = model.get("merges")
    if isinstance(lines, list):  # newer files write each merge as a pair
        lines = [" ".join(line) if isinstance(line, list) else line for line in lines]
    return checked_vocabulary(model.get("vocab")) | added, lines


def checked_vocabulary(vocabulary: object) -> dict[str, int]:
    """`vocabulary` if it is an object of whole numbers; UserError otherwise."""
    if not isinstance(vocabulary, dict) or not vocabulary or not all(type(i) is int for i in vocabulary.values()):
        raise UserError("the vocabulary must be an object of token ids")
    return vocabulary


def checked_lines(lines: object) -> list[str]:
    """`lines` if it is a list of strings; UserError otherwise."""
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise UserError("the merges must be a list of strings")
    return lines
