"""Words of English and Chinese text: tokens with their places, and the terms by which texts are compared."""

import re
from functools import cache, lru_cache
from typing import NamedTuple

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_HAN_RUN = re.compile(f"[{HAN}]+")
_TOKEN = re.compile(
    rf"\d+(?:[.,:/-]\d+)*(?:st|nd|rd|th|s)?(?![^\W\d_{HAN}])"  # 1,234.5 and 1990s, but not 3D
    rf"|[^\W{HAN}]+(?:['’.-](?=[^\W{HAN}])[^\W{HAN}]+)*"  # don't, well-known, os.path
    rf"|[{HAN}]+|[^\w\s]",
)


class Token(NamedTuple):
    """A word, a number or one sign of punctuation: `text[start:end]`."""

    text: str
    start: int
    end: int


def is_chinese(text: str) -> bool:
    """Whether Chinese characters make up at least a fifth of the text without blanks."""
    n_han = sum(len(run) for run in _HAN_RUN.findall(text))
    return 5 * n_han >= max(1, sum(not sign.isspace() for sign in text))


def tokens(text: str) -> list[Token]:
    """All tokens in order; Chinese is cut into words by jieba."""
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        word, start = match.group(), match.start()
        if not _HAN_RUN.match(word):
            found.append(Token(word, start, match.end()))
            continue
        for part in _segmented(word):
            found.append(Token(part, start, start + len(part)))
            start += len(part)
    return found


def terms(text: str) -> list[str]:
    """What BM25 and the overlap features count: stems of the words that are not function words, and of Chinese all
    pairs of neighbouring characters, or the character where it stands alone."""
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        word = match.group()
        if _HAN_RUN.match(word):
            found.extend(han_terms(word))
        elif word[0].isalnum() or word[0] == "_":
            found.extend(word_terms(word))
    return found


def han_terms(run: str) -> list[str]:
    """Character bigrams of a run of Chinese characters."""
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]


@lru_cache(maxsize=100_000)
def word_terms(word: str) -> tuple[str, ...]:
    """Stems of a word and, if it is compound, of its parts; nothing for a function word."""
    lowered = word.lower().replace("’", "'")
    parts = [part for part in re.split(r"['._-]+", lowered) if len(part) > 1 or part.isdigit()]
    whole = [] if len(parts) < 2 or lowered.endswith("'s") else [lowered]
    kept = [part for part in parts if part not in STOP_WORDS]
    return tuple(whole + [str(stem) for stem in _stemmer().stemWords(kept)])


@cache
def _stemmer():
    import Stemmer

    return Stemmer.Stemmer("english")


def _segmented(run: str) -> list[str]:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    return list(jieba.cut(run, HMM=True))


STOP_WORDS = frozenset(
    """a about above after again against all also although am among an and any are as at be because been before being
    below between both but by can could did do does doing down during each few for from further had has have having he
    her here hers him his how i if in into is it its itself just ll many may me might more most much must my no nor not
    now of off on once only or other our out over own re s same shall she should so some such t than that the their
    theirs them then there these they this those through to too under until up upon ve very was we were what when where
    which while who whom whose why will with within without would you your""".split()
)
"""English words too common to tell passages apart."""
