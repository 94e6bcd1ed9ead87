"""How a classifier takes texts as people type them: perturbations that leave the meaning, and what they cost.

Each perturbation is a function of a text, a random generator and a rate. Typing errors follow the noise of Belinkov &
Bisk (2018, "Synthetic and Natural Noise Both Break Neural Machine Translation", §3.2): the first letter stays, and
short words too, as people rarely mistype them. Addresses, mentions and markup are never touched, nor letters of
scripts without case (Chinese, Japanese, Korean …) where the error could not be typed. A text that would lose its last
word stays as it is.

Shapes: N texts, K labels.
"""

import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roadmap_shared.metrics import Interval, PairedComparison, paired_bootstrap, wilson_interval

Predict = Callable[[Sequence[str]], np.ndarray]
"""N texts -> (N, K) probabilities."""

Perturbation = Callable[[str, random.Random, float], str]
"""(text without addresses, mentions and markup; generator; rate from 0 to 1) -> perturbed text."""

_PROTECTED = re.compile(r"((?:https?://|www\.)\S+|(?<![\w@])@\w{1,50}|</?[a-zA-Z][^<>]{0,500}>|&#?\w{2,8};)", re.I)
_WORD = re.compile(r"[^\W\d_]+")
_BLANK_BETWEEN_WORDS = re.compile(r"(?<=\S) (?=\S)")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")
_VOWEL = re.compile(r"[aeiouyаеиоуыэюя]", re.I)
# Pictographs with their modifiers: skin tone, variation selector, the joiner of families, flags, keycaps.
_EMOJI = re.compile(r" ?(?:(?:[0-9#*]\ufe0f?\u20e3|[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200d]) ?)+")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SHORTEST_MISTYPED = 4
_ELONGATED_TO = 4


@dataclass(frozen=True)
class RobustnessRow:
    """A classifier under one perturbation.

    Args:
        n_changed: texts that the perturbation altered; the others count with their clean prediction.
        accuracy: over all N texts, with its 95 % Wilson interval.
        difference: accuracy minus the clean accuracy, by paired bootstrap; None for the clean row.
        flipped: share of the altered texts whose predicted label changes; None where no text was altered.
    """

    perturbation: str
    n_changed: int
    accuracy: Interval
    difference: PairedComparison | None = None
    flipped: Interval | None = None


def swap(text: str, generator: random.Random, rate: float) -> str:
    """Swap two neighbouring letters: film -> flim."""

    def mistype(word: str) -> str:
        places = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
        if not places:
            return word
        i = generator.choice(places)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]

    return _mistype_words(text, generator, rate, mistype)


def drop(text: str, generator: random.Random, rate: float) -> str:
    """Leave a letter out: film -> flm."""

    def mistype(word: str) -> str:
        i = generator.randrange(1, len(word))
        return word[:i] + word[i + 1 :]

    return _mistype_words(text, generator, rate, mistype)


def double(text: str, generator: random.Random, rate: float) -> str:
    """Type a letter twice: film -> fillm."""

    def mistype(word: str) -> str:
        i = generator.randrange(1, len(word))
        return word[:i] + word[i] + word[i:]

    return _mistype_words(text, generator, rate, mistype)


def neighbour(text: str, generator: random.Random, rate: float) -> str:
    """Hit the key beside the right one: film -> filk."""

    def mistype(word: str) -> str:
        places = [i for i in range(1, len(word)) if word[i].lower() in NEIGHBOURS]
        if not places:
            return word
        i = generator.choice(places)
        key = generator.choice(NEIGHBOURS[word[i].lower()])
        return word[:i] + (key.upper() if word[i].isupper() else key) + word[i + 1 :]

    return _mistype_words(text, generator, rate, mistype)


def upper_case(text: str, generator: random.Random, rate: float) -> str:
    """Write all of it in capitals."""
    return text.upper()


def lower_case(text: str, generator: random.Random, rate: float) -> str:
    """Write all of it in small letters."""
    return text.lower()


def no_punctuation(text: str, generator: random.Random, rate: float) -> str:
    """Replace punctuation by blanks, full-width marks too; what stands within a word or a number stays."""
    characters = [
        " " if unicodedata.category(character).startswith("P") and not _joins(text, index) else character
        for index, character in enumerate(text)
    ]
    stripped = "".join(characters)
    return text if stripped == text else re.sub(r" {2,}", " ", stripped)


def whitespace(text: str, generator: random.Random, rate: float) -> str:
    """Drop a blank between two words, or type it twice."""

    def respace(blank: re.Match[str]) -> str:
        if generator.random() >= rate or not (_has_case(text[blank.start() - 1]) and _has_case(text[blank.end()])):
            return " "
        return generator.choice(["", "  "])

    return _BLANK_BETWEEN_WORDS.sub(respace, text)


def elongation(text: str, generator: random.Random, rate: float) -> str:
    """Draw out the last vowel of a word: so -> soooo, good -> gooood."""

    def draw_out(match: re.Match[str]) -> str:
        word = match[0]
        vowels = [vowel.start() for vowel in _VOWEL.finditer(word)]
        if not vowels or generator.random() >= rate:
            return word
        i = vowels[-1]
        return word[:i] + word[i] * _ELONGATED_TO + word[i + 1 :]

    return _WORD.sub(draw_out, text)


def no_apostrophes(text: str, generator: random.Random, rate: float) -> str:
    """Leave out apostrophes within words: don't -> dont."""
    return _APOSTROPHE.sub("", text)


def no_emoji(text: str, generator: random.Random, rate: float) -> str:
    """Replace emoji by a blank."""
    return _EMOJI.sub(" ", text)


PERTURBATIONS: dict[str, Perturbation] = {
    "letters swapped": swap,
    "letters dropped": drop,
    "letters doubled": double,
    "neighbouring keys": neighbour,
    "upper case": upper_case,
    "lower case": lower_case,
    "no punctuation": no_punctuation,
    "blanks dropped or doubled": whitespace,
    "words drawn out": elongation,
    "no apostrophes": no_apostrophes,
    "no emoji": no_emoji,
}
"""By name, in the order of the report. The rate matters for typing errors, blanks and drawn-out words."""


def perturb(text: str, perturbation: Perturbation, seed: int, rate: float = 0.1) -> str:
    """The text under a perturbation; the same for the same text, perturbation, rate and seed, whatever is beside it.

    Args:
        rate: share of the words (of the blanks for `whitespace`) that are altered, each drawn by itself.
    """
    # A string seeds through SHA-512: unlike hash(), it gives the same in every process.
    generator = random.Random(f"{seed}/{perturbation.__name__}/{text}")
    # re.split with one group puts what is protected at the odd places.
    pieces = _PROTECTED.split(text)
    pieces[::2] = [perturbation(piece, generator, rate) if piece else piece for piece in pieces[::2]]
    perturbed = "".join(pieces)
    return perturbed if any(map(str.isalnum, _PROTECTED.sub("", perturbed))) else text


def robustness(
    predict: Predict,
    texts: Sequence[str],
    targets: ArrayLike,
    seed: int,
    *,
    rate: float = 0.1,
    perturbations: Mapping[str, Perturbation] = PERTURBATIONS,
) -> list[RobustnessRow]:
    """The clean accuracy, and the accuracy and the flipped predictions under each perturbation.

    Args:
        predict: classifier under test.
        texts: N texts.
        targets: (N,) index of the right label of each.
        seed: of the perturbations.
        rate: share of the words that get a typing error.

    Raises:
        ValueError: no texts, another number of targets, or a rate outside 0 … 1.
    """
    truth = np.asarray(targets)
    if not len(texts) or truth.shape != (len(texts),):
        raise ValueError(f"expected one target a text, and at least one, got {len(texts)} texts and {truth.shape}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate}")
    clean = predict(texts).argmax(axis=1)  # (N,)
    rows = [RobustnessRow("none", 0, _accuracy(clean == truth))]
    for name, perturbation in perturbations.items():
        perturbed = [perturb(text, perturbation, seed, rate) for text in texts]
        changed = np.array([before != after for before, after in zip(texts, perturbed, strict=True)])
        # A text that stays as it is keeps its prediction: another batch could change its last bits.
        predicted = clean.copy()
        if changed.any():
            predicted[changed] = predict([perturbed[index] for index in np.flatnonzero(changed)]).argmax(axis=1)
        rows.append(_row(name, truth, clean, predicted, changed))
    return rows


def _row(name: str, truth: np.ndarray, clean: np.ndarray, predicted: np.ndarray, changed: np.ndarray) -> RobustnessRow:
    n_changed = int(changed.sum())
    return RobustnessRow(
        perturbation=name,
        n_changed=n_changed,
        accuracy=_accuracy(predicted == truth),
        difference=paired_bootstrap(clean == truth, predicted == truth),
        flipped=wilson_interval(int((clean != predicted).sum()), n_changed) if n_changed else None,
    )


def _accuracy(correct: np.ndarray) -> Interval:
    return wilson_interval(int(correct.sum()), len(correct))


def _mistype_words(text: str, generator: random.Random, rate: float, mistype: Callable[[str], str]) -> str:
    """Apply `mistype` to words of at least four letters, each with probability `rate`."""

    def change(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < _SHORTEST_MISTYPED or not _has_case(word) or generator.random() >= rate:
            return word
        return mistype(word)

    return _WORD.sub(change, text)


def _has_case(letters: str) -> bool:
    """Whether all are letters of a script that has capitals, which Chinese has not."""
    return all(letter.lower() != letter.upper() for letter in letters)


def _joins(text: str, index: int) -> bool:
    """Whether the mark at `index` holds a word or a number together: it's, well-made, 3.5, 7:30."""
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if text[index] in "'’-":
        return before.isalnum() and after.isalnum()
    return text[index] in ".,:" and before.isdigit() and after.isdigit()


def _neighbours() -> dict[str, str]:
    """Each key's neighbours on a QWERTY keyboard, whose rows are each shifted by about half a key."""
    place = {key: (row, column) for row, keys in enumerate(_KEYBOARD) for column, key in enumerate(keys)}
    return {
        key: "".join(
            other
            for other, (r, c) in place.items()
            if other != key and ((r == row and abs(c - column) == 1) or (r - row, c - column) in _DIAGONALS)
        )
        for key, (row, column) in place.items()
    }


# (rows down, columns right): the lower row stands half a key to the right, so a key touches two above and two below.
_DIAGONALS = {(1, -1), (1, 0), (-1, 0), (-1, 1)}
NEIGHBOURS = _neighbours()
"""By letter, the letters whose keys touch its key."""
