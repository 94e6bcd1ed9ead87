"""What can be counted in a text without a model: length, words, unknown words, scripts. N texts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SCRIPTS = ("latin", "han", "other letters", "digits", "space", "punctuation", "markup", "emoji and symbols")
_MARKUP = frozenset("<>{}[]/\\=&#;_|")
# A Han character is a word; other letters go together with their apostrophes, and every other sign stands alone.
_WORDS = re.compile(r"[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+(?:['\u2019][^\W\d_\u3400-\u9fff]+)*|\d+|[^\w\s]")


def words_of(text: str) -> tuple[str, ...]:
    """Words in lower case, Han characters, numbers and signs, in their order."""
    return tuple(_WORDS.findall(text.lower()))


def script_counts(text: str) -> Array:
    """(S,) characters of each of `SCRIPTS`."""
    counts = np.zeros(len(SCRIPTS))
    for character, number in Counter(text).items():
        counts[_script(character)] += number
    return counts


class Vocabulary:
    """The words of the reference, with one place for each of the most frequent ones and one for all others."""

    def __init__(self, texts: Iterable[Sequence[str]], most: int = 300) -> None:
        """
        Args:
            texts: the words of each text.
            most: words that have a place of their own.
        """
        counts = Counter(chain.from_iterable(texts))
        self._known = frozenset(counts)
        self._places = {word: place for place, (word, _) in enumerate(counts.most_common(most))}

    def unknown_share(self, words: Sequence[str]) -> float:
        """Share of the words that the reference does not have; 0 for a text without words."""
        return len([word for word in words if word not in self._known]) / len(words) if words else 0.0

    def counts(self, texts: Iterable[Sequence[str]]) -> Array:
        """(W + 1,) how often each frequent word comes, and all others together."""
        rest = len(self._places)
        counts = np.zeros(rest + 1)
        for word, number in Counter(chain.from_iterable(texts)).items():
            counts[self._places.get(word, rest)] += number
        return counts


@lru_cache(maxsize=8192)
def _script(character: str) -> int:
    category = unicodedata.category(character)
    if category[0] == "L":
        name = unicodedata.name(character, "")
        if name.startswith("LATIN"):
            return 0
        return 1 if name.startswith("CJK") else 2
    if category[0] == "N":
        return 3
    if character.isspace() or category[0] in "ZC":
        return 4
    if character in _MARKUP:
        return 6
    return 5 if category[0] == "P" else 7
