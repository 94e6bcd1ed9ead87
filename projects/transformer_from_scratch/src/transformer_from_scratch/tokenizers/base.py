"""What every tokenizer of this project has in common: an interface, special tokens, bytes per token, JSON.

A token id stands for a fixed string of bytes, whatever its neighbours are. That one rule makes `decode` a
concatenation, makes losses comparable between tokenizers (bits per byte needs the bytes per token), and lets
`StreamDecoder` print text while it is generated.
"""

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from roadmap_shared.errors import UserError

CACHED_WORDS = 65_536


class Tokenizer(ABC):
    """A reversible map between text and token ids.

    The vocabulary is `special_tokens` (ids 0, 1, ... in the given order) followed by `token_values`, the
    bytes that each further id stands for. Special tokens mark structure (`<pad>`, `<bos>`, `<mask>`, ...) and
    stand for no text: `encode` never returns one, not even where the text spells its name, so a user's text
    cannot forge structure; `decode` leaves them out. Callers put their ids in place with `special_id`.
    """

    kind: ClassVar[str]

    def __init__(self, token_values: Sequence[bytes], special_tokens: Sequence[str]) -> None:
        if len(set(special_tokens)) != len(special_tokens) or "" in special_tokens:
            raise UserError(f"special_tokens {list(special_tokens)}: give each a name of its own, none empty")
        self.special_tokens = tuple(special_tokens)
        self._values = [b""] * len(special_tokens) + list(token_values)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with `decode(encode(text)) == text`.

        Raises UserError where `text` cannot be written in this vocabulary, or is not valid Unicode (a lone
        surrogate, which has no UTF-8 form).
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything that `from_json` needs, as JSON values; `kind` names the class."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: object) -> Self:
        """The tokenizer that `to_json` described. Raises UserError for foreign or damaged data."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids, special tokens included."""
        return len(self._values)

    def special_id(self, name: str) -> int:
        """Id of the special token `name`. Raises UserError if the tokenizer was trained without it."""
        if name not in self.special_tokens:
            known = ", ".join(self.special_tokens) or "none"
            raise UserError(f"the tokenizer has no special token {name!r} (it has: {known}); train it with one")
        return self.special_tokens.index(name)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens are left out.

        Ids that end or start within a multi-byte character give U+FFFD, the replacement character, in its
        place. Raises UserError for an id outside the vocabulary.
        """
        return b"".join(map(self.token_value, ids)).decode("utf-8", errors="replace")

    def token_value(self, token_id: int) -> bytes:
        """The UTF-8 bytes that the token stands for: a character, several, or a part of one.

        Empty for a special token. Raises UserError for an id outside the vocabulary.
        """
        if not 0 <= token_id < len(self._values):
            raise UserError(
                f"token id {int(token_id)} is outside the vocabulary (0 to {len(self._values) - 1}): "
                "were these ids made by another tokenizer?"
            )
        return self._values[token_id]

    def token_bytes(self, token_id: int) -> int:
        """How many UTF-8 bytes of text the token stands for; 0 for a special token.

        Over the ids of a text these add up to the length of the text in UTF-8, so that
        bits per byte = summed loss in nats / (ln 2 * summed token_bytes).
        """
        return len(self.token_value(token_id))

    def token_text(self, token_id: int) -> str:
        """The token as a label for figures: `▁` for a space, escapes for what cannot be printed."""
        value = self.token_value(token_id)
        if token_id < len(self.special_tokens):
            return self.special_tokens[token_id]
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in value)
        return "".join("▁" if c == " " else c if c.isprintable() else repr(c)[1:-1] for c in text)


class SubwordTokenizer(Tokenizer):
    """A tokenizer that cuts text into words and encodes each word by itself, remembering the results."""

    def __init__(self, token_values: Sequence[bytes], special_tokens: Sequence[str]) -> None:
        super().__init__(token_values, special_tokens)
        self._cache: dict[str, list[int]] = {}

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Cut `text` into words. Nothing is lost: the words joined are the text."""

    @abstractmethod
    def encode_word(self, word: str) -> list[int]:
        """Token ids of one word."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; every text has some. Raises UserError for a lone surrogate."""
        require_unicode(text)
        ids: list[int] = []
        for word in self.split(text):
            word_ids = self._cache.get(word)
            if word_ids is None:
                word_ids = self.encode_word(word)
                if len(self._cache) < CACHED_WORDS:
                    self._cache[word] = word_ids
            ids.extend(word_ids)
        return ids


class StreamDecoder:
    """Decodes ids one at a time, holding back bytes until they make whole characters.

    Joined, the pieces of `feed` and the final `flush` equal `tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """The text that `token_id` completes, possibly empty."""
        return self._utf8.decode(self._tokenizer.token_value(token_id))

    def flush(self) -> str:
        """U+FFFD for a character that was left unfinished, else the empty string."""
        return self._utf8.decode(b"", final=True)


def require_unicode(text: str) -> None:
    """Raise UserError if `text` has a lone surrogate: it is no character, and UTF-8 cannot write it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"the text has a lone surrogate U+{ord(text[error.start]):04X} at position {error.start}, "
            "which is not valid Unicode; read the file as UTF-8 with errors='replace'"
        ) from None


def training_lines(text: str | Iterable[str]) -> list[str]:
    """`text`, or each of several texts, checked: valid Unicode and not all empty (UserError otherwise)."""
    lines = [text] if isinstance(text, str) else list(text)
    if not any(lines):
        raise UserError("the text to train the tokenizer on is empty: give it some text")
    for line in lines:
        require_unicode(line)
    return lines


def room_for_pieces(vocab_size: int, special_tokens: Sequence[str]) -> int:
    """How many tokens may be learnt beside the special tokens and the 256 bytes (UserError if below 0)."""
    smallest = len(special_tokens) + 256
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size {vocab_size} is too small: 256 bytes and {len(special_tokens)} special tokens "
            f"need at least {smallest}"
        )
    return vocab_size - smallest


def damaged(reason: str) -> UserError:
    """The error for tokenizer JSON of the right kind that cannot be used."""
    return UserError(f"damaged tokenizer JSON: {reason}; save the tokenizer again")


def read_string_lists(data: object, kind: str, *names: str) -> list[list[str]]:
    """The fields `names` of tokenizer JSON of this `kind`; UserError unless each is a list of strings."""
    if not isinstance(data, Mapping) or data.get("kind") != kind:
        raise UserError(f"not the JSON of a {kind} tokenizer: expected an object with 'kind': {kind!r}")
    if unknown := sorted(map(str, data.keys() - {"kind", *names})):
        raise damaged(f"unknown field {unknown[0]!r}")
    lists: list[list[str]] = []
    for name in names:
        value = data.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise damaged(f"field {name!r} must be a list of strings")
        lists.append(value)
    return lists
