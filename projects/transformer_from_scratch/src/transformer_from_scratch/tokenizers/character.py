"""Character tokenizer: one token per Unicode character of the training text.

The smallest vocabulary and the longest sequences. It cannot write a character it was not trained on, and says
so: mapping strangers to one `<unk>` would lose text silently.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, Self

from roadmap_shared.errors import UserError
from transformer_from_scratch.tokenizers.base import (
    Tokenizer,
    damaged,
    read_string_lists,
    require_unicode,
    training_lines,
)

NAMED_SYMBOLS = 5


class CharacterTokenizer(Tokenizer):
    """Ids of `special_tokens`, then one id per character of `alphabet`, in that order."""

    kind: ClassVar[str] = "character"

    def __init__(self, alphabet: Sequence[str], special_tokens: Sequence[str] = ()) -> None:
        super().__init__([symbol.encode("utf-8") for symbol in alphabet], special_tokens)
        self.alphabet = tuple(alphabet)
        self._ids = {symbol: i for i, symbol in enumerate(alphabet, start=len(special_tokens))}

    @classmethod
    def train(
        cls, text: str | Iterable[str], vocab_size: int | None = None, special_tokens: Sequence[str] = ()
    ) -> Self:
        """The alphabet of `text` in code point order.

        Raises UserError if `text` is empty, or if `vocab_size` is given and has no room for the alphabet.
        """
        alphabet = sorted(set().union(*training_lines(text)))
        needed = len(alphabet) + len(special_tokens)
        if vocab_size is not None and needed > vocab_size:
            raise UserError(
                f"the text has {len(alphabet)} distinct characters, with {len(special_tokens)} special "
                f"tokens more than vocab_size {vocab_size}: raise it to {needed}, or train a bpe tokenizer"
            )
        return cls(alphabet, special_tokens)

    def encode(self, text: str) -> list[int]:
        """One id per character. Raises UserError that names the characters outside the alphabet."""
        require_unicode(text)
        try:
            return [self._ids[symbol] for symbol in text]
        except KeyError:
            raise UserError(describe_unknown(text, self._ids)) from None

    def to_json(self) -> dict[str, Any]:
        """The special tokens and the alphabet."""
        return {
            "kind": self.kind,
            "special_tokens": list(self.special_tokens),
            "alphabet": list(self.alphabet),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The tokenizer that `to_json` described. Raises UserError for foreign or damaged data."""
        special_tokens, alphabet = read_string_lists(data, cls.kind, "special_tokens", "alphabet")
        if any(len(symbol) != 1 for symbol in alphabet) or len(set(alphabet)) != len(alphabet):
            raise damaged("'alphabet' must hold single characters, each once")
        require_unicode("".join(alphabet))
        return cls(alphabet, special_tokens)


def describe_unknown(text: str, known: Collection[str]) -> str:
    """One line that lists the characters of `text` outside `known`, each with its first position."""
    unknown = {symbol: text.index(symbol) for symbol in dict.fromkeys(text) if symbol not in known}
    named = [f"{symbol!r} (U+{ord(symbol):04X}) at position {at}" for symbol, at in unknown.items()]
    more = f" and {len(named) - NAMED_SYMBOLS} more" if len(named) > NAMED_SYMBOLS else ""
    return (
        "the text has characters that the tokenizer was not trained on: "
        f"{', '.join(named[:NAMED_SYMBOLS])}{more}; "
        "remove them, or train the tokenizer on text that has them"
    )
