"""Text to the terms that a sparse index counts: stemmed words, and for Chinese segmented words and character pairs.

The script decides, run by run, so that a Chinese text with English names in it is treated by both rules.
"""

import re
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

HAN = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003134f"
"""Chinese characters, for use within a regular expression's brackets."""

_RUN = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+(?:['’_][^\W_{HAN}]+)*")
HAN_CHARACTER = re.compile(rf"[{HAN}]")
_STEMMER = threading.local()

QUESTION_WORDS = frozenset("who whom whose what which when where why how did does do many much".split())
"""Words of questions that are not among Lucene's stop words."""


@cache
def stop_words() -> frozenset[str]:
    """Lucene's 33 English stop words, as bm25s has them, and the words that only make a question of a sentence."""
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN) | QUESTION_WORDS


def is_chinese(text: str) -> bool:
    """Whether the text holds a Chinese character."""
    return HAN_CHARACTER.search(text) is not None


def fold(text: str) -> str:
    """Lower case, compatibility forms (full-width digits, ligatures) unified, accents dropped."""
    text = unicodedata.normalize("NFKC", text).casefold()
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) != "Mn"))


def terms(text: str, *, stemming: bool = True) -> list[str]:
    """Every term of a text in its order, repeated as often as it occurs."""
    return [stem(term) if stemming else term for term in words(text)]


def query_terms(text: str, *, stemming: bool = True, without_stop_words: bool = True) -> list[str]:
    """Terms of a question: as `terms`, less the stop words, unless it consists of nothing else ("the who")."""
    found = list(words(text))
    if without_stop_words and any(word not in stop_words() for word in found):
        found = [word for word in found if word not in stop_words()]
    return [stem(word) if stemming else word for word in found]


def words(text: str) -> Iterator[str]:
    """Folded words; of Chinese, every character, every pair of neighbours and the longer words."""
    for match in _RUN.finditer(fold(text)):
        run = match.group()
        if HAN_CHARACTER.match(run):
            yield from _chinese_terms(run)
        elif "_" in run:
            yield run  # an identifier, and the words that it is made of
            yield from run.split("_")
        else:
            yield run.replace("’", "'")


def stem(word: str) -> str:
    """Snowball's English stem; Chinese passes unchanged."""
    if not hasattr(_STEMMER, "english"):
        import Stemmer

        _STEMMER.english = Stemmer.Stemmer("english")  # one a thread: it is not safe to share
    return _STEMMER.english.stemWord(word)


def _chinese_terms(run: str) -> Iterator[str]:
    """Characters find a word within a longer one, pairs find what the dictionary does not know, and words of three and
    more characters add precision."""
    yield from run
    for start in range(len(run) - 1):
        yield run[start : start + 2]
    yield from (word for word in segment(run) if len(word) > 2)


def segment(text: str) -> list[str]:
    """Chinese words by jieba, which covers the text without a gap."""
    return _jieba().lcut(text, HMM=True)


_JIEBA_LOCK = threading.Lock()
_JIEBA: list[Any] = []


def _jieba() -> Any:
    """jieba's tokenizer with the dictionary that comes with it.

    Its own initialisation reads a cache from the shared temporary folder, where other users could leave a file in its
    place, writes one there, and reports on stderr; the dictionary is read directly instead.
    """
    with _JIEBA_LOCK:
        if not _JIEBA:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # escapes in its regular expressions, pkg_resources
                import jieba

            jieba.setLogLevel("WARNING")
            tokenizer = jieba.Tokenizer()
            tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
            tokenizer.initialized = True
            _JIEBA.append(tokenizer)
        return _JIEBA[0]
