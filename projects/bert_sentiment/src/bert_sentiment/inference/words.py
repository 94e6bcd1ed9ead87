"""The words of a text: where each stands in the original, and which tokens of the model belong to it.

The model sees a cleaned text: without markup, addresses shortened, blanks joined. To point at the original, cleaning is
repeated here on characters that remember where they come from.
"""

import html
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.data.preprocessor import BLANKS, ELONGATED, MENTION, TAG, URL, special_tokens, truncate
from roadmap_shared.errors import UserError

# The pattern of html.unescape (HTML 5, section 13.2.5.72): applied match by match, it gives the same text.
_ENTITY = re.compile(r"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
_IDEOGRAPH = "\u2e80-\u2fdf\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])\w)+(?:['’-](?:(?![{_IDEOGRAPH}])\w)+)*|[^\w\s]+")


@dataclass(frozen=True)
class Place:
    """Half-open range of characters: `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True)
class Alignment:
    """Tokens of a text as the model sees them, and the words that they make up.

    `token_ids` has T entries, special tokens included. `word_of_token` has for each the index of its word, None for a
    special token. `words` are places in the original text, in order.
    """

    token_ids: list[int]
    word_of_token: list[int | None]
    words: list[Place]


def align(text: str, tokenizer: PreTrainedTokenizerBase, config: PreprocessingConfig) -> Alignment:
    """Tokens and words of a text that is prepared as `config` says.

    A word is a run of letters and digits, with apostrophes and hyphens inside; one Chinese, Japanese or Korean
    character; or a run of other signs.

    Raises:
        UserError: the tokenizer does not tell where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise UserError("words can be marked only for a model with a fast tokenizer (tokenizer.json in its folder)")
    cleaned, origins = clean_with_places(text, config)
    ends, words = _words(cleaned, origins)
    plain = tokenizer(cleaned, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    word_of = [_word_at(_first_sign(cleaned, *offset), ends) for offset in plain["offset_mapping"]]

    before, after = special_tokens(tokenizer)
    room = min(config.max_length, tokenizer.model_max_length) - len(before) - len(after)
    kept = truncate(list(range(len(word_of))), room, config)
    return Alignment(
        token_ids=[*before, *(plain["input_ids"][index] for index in kept), *after],
        word_of_token=[*[None] * len(before), *(word_of[index] for index in kept), *[None] * len(after)],
        words=words,
    )


def clean_with_places(text: str, config: PreprocessingConfig) -> tuple[str, list[Place]]:
    """What `preprocessor.clean` returns, and for each of its characters the place in the original it stands for."""
    places = [Place(index, index + 1) for index in range(len(text))]
    steps: list[tuple[bool, re.Pattern[str], Callable[[re.Match[str]], str]]] = [
        (config.html, TAG, lambda match: " "),
        (config.html, _ENTITY, lambda match: html.unescape(match.group())),
        (config.urls == "token", URL, lambda match: "http"),
        (config.mentions == "token", MENTION, lambda match: "@user"),
        (config.elongation, ELONGATED, lambda match: 3 * match.group(1)),
        (True, BLANKS, lambda match: " "),
    ]
    for wanted, pattern, replacement in steps:
        if wanted:
            text, places = _substitute(pattern, replacement, text, places)
    start = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    return text[start:end], places[start:end]


def _substitute(
    pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str], text: str, places: list[Place]
) -> tuple[str, list[Place]]:
    """`pattern.sub(replacement, text)`; all characters of a replacement stand for the whole match, unless they are the
    match."""
    pieces: list[str] = []
    moved: list[Place] = []
    position = 0
    for match in pattern.finditer(text):
        piece = replacement(match)
        if piece == match.group():
            continue
        whole = Place(places[match.start()].start, places[match.end() - 1].end)
        pieces += [text[position : match.start()], piece]
        moved += [*places[position : match.start()], *[whole] * len(piece)]
        position = match.end()
    return "".join([*pieces, text[position:]]), [*moved, *places[position:]]


def _words(cleaned: str, origins: list[Place]) -> tuple[list[int], list[Place]]:
    """Where each word ends in the cleaned text, and its place in the original."""
    ends: list[int] = []
    words: list[Place] = []
    for match in _WORD.finditer(cleaned):
        place = Place(origins[match.start()].start, origins[match.end() - 1].end)
        if words and place.start < words[-1].end:
            # Two words of the cleaned text stand for one stretch of the original, as `@` and `user` do.
            ends[-1], words[-1] = match.end(), Place(words[-1].start, max(place.end, words[-1].end))
        else:
            ends.append(match.end())
            words.append(place)
    return ends, words


def _first_sign(text: str, start: int, end: int) -> int:
    """Where in the range the first character stands that is no blank: some tokens begin with the blank before them."""
    token = text[start:end]
    return start + len(token) - len(token.lstrip())


def _word_at(position: int, ends: list[int]) -> int:
    """Index of the word at a position, or of the next one; of the last one behind all words."""
    return min(bisect_right(ends, position), len(ends) - 1)
