"""Tokenizers trained from scratch: characters, byte-level BPE and WordPiece.

One interface for all (`Tokenizer`), in reading order:

- `base`: the interface, special tokens, streaming decode;
- `character`: one token per character;
- `words`: cutting text into words, for the two that follow;
- `pairs`: counting and merging neighbouring symbols, for the two that follow;
- `bpe`: byte-level byte-pair encoding;
- `wordpiece`: WordPiece without BERT's losses.

>>> tokenizer = train("bpe", "low lower lowest", vocab_size=260, special_tokens=("<pad>",))
>>> tokenizer.decode(tokenizer.encode("lowest 🙂"))
'lowest 🙂'
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from roadmap_shared.errors import UserError
from transformer_from_scratch.tokenizers.base import StreamDecoder, SubwordTokenizer, Tokenizer
from transformer_from_scratch.tokenizers.bpe import ByteBPETokenizer
from transformer_from_scratch.tokenizers.character import CharacterTokenizer
from transformer_from_scratch.tokenizers.wordpiece import WordPieceTokenizer

TokenizerKind = Literal["character", "bpe", "wordpiece"]

__all__ = [
    "ByteBPETokenizer",
    "CharacterTokenizer",
    "StreamDecoder",
    "SubwordTokenizer",
    "Tokenizer",
    "TokenizerKind",
    "WordPieceTokenizer",
    "tokenizer_from_json",
    "train",
]


def train(
    kind: TokenizerKind,
    text: str | Iterable[str],
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Train a tokenizer of this `kind` on a text or on several (no token spans two of them).

    `vocab_size` bounds the vocabulary, special tokens included; a character tokenizer needs none and takes
    the whole alphabet. `special_tokens` get the ids 0, 1, ... in the given order.

    Raises UserError for an empty text, a missing or too small `vocab_size`, or special tokens that are not
    distinct.
    """
    if kind == "character":
        return CharacterTokenizer.train(text, vocab_size, special_tokens)
    subword = {"bpe": ByteBPETokenizer, "wordpiece": WordPieceTokenizer}.get(kind)
    if subword is None:
        raise UserError(f"unknown tokenizer kind {kind!r}: choose one of {', '.join(get_args(TokenizerKind))}")
    if vocab_size is None:
        raise UserError(f"a {kind} tokenizer needs a vocab_size: give the number of tokens it may have, such as 1000")
    return subword.train(text, vocab_size, special_tokens)


def tokenizer_from_json(data: object) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_json` described. Raises UserError for foreign or damaged data."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    for tokenizer in (CharacterTokenizer, ByteBPETokenizer, WordPieceTokenizer):
        if kind == tokenizer.kind:
            return tokenizer.from_json(data)
    raise UserError(
        "not tokenizer JSON of this project: expected an object whose 'kind' is one of "
        f"{', '.join(get_args(TokenizerKind))}"
    )
