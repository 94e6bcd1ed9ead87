"""Cutting text into words before a subword tokenizer is trained or applied, so that no token spans two words.

Both rules keep every character, spaces included: the words joined are the text. A word keeps the one space
before it (`" the"`), which is how the boundary between words survives tokenization.

The standard library's `re` has no `\\p{L}`; the classes are put together from what it has. They follow the
Unicode version of the running Python (`unicodedata.unidata_version`): newer characters count as symbols.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

# Unicode White_Space; `\s` in `re` has the separators U+001C to U+001F besides.
SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Planes 2 and up hold ideographs, tags and private characters: no numbers, no punctuation.
PLANES_0_AND_1 = range(0x20000)


def characters_in(*categories: str) -> str:
    """The characters of some Unicode general categories, escaped to stand in a `[...]` set.

    They are given whole or by their first letter (`"No"`, `"P"`) and must be numbers or punctuation.
    """
    every = map(chr, PLANES_0_AND_1)
    return re.escape("".join(c for c in every if unicodedata.category(c).startswith(categories)))


@cache
def gpt2_pattern() -> re.Pattern[str]:
    """The GPT-2 pattern (Radford et al. 2019, `encoder.py`) in the syntax of `re`.

    The original: `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`.
    `\\w` is letters, numbers and `_`; `\\d` only decimal digits, so the other numbers (², Ⅷ) are listed.
    """
    other_numbers = characters_in("Nl", "No")
    letters, numbers = rf"[^\W\d_{other_numbers}]+", rf"[\d{other_numbers}]+"
    symbols = rf"(?:_|[^\w{SPACE}])+"
    spaces = rf"[{SPACE}]+(?![^{SPACE}])|[{SPACE}]+"
    return re.compile(rf"'(?:[sdmt]|ll|ve|re)| ?{letters}| ?{numbers}| ?{symbols}|{spaces}")


@cache
def bert_pattern() -> re.Pattern[str]:
    """BERT's basic tokenization (Devlin et al. 2019, `tokenization.py`): each punctuation mark by itself.

    Punctuation is Unicode category P and every ASCII symbol. Unlike BERT's, the split drops no white space
    and changes no character (no lower case, no stripped accents), because the tokenizer must be reversible.
    """
    punctuation = re.escape(string.punctuation) + characters_in("P")
    spaces = rf"[{SPACE}]+(?![^{SPACE}])|[{SPACE}]+"
    return re.compile(rf" ?[^{SPACE}{punctuation}]+| ?[{punctuation}]|{spaces}")


def split_gpt2(text: str) -> list[str]:
    """Cut as GPT-2 does: runs of letters, of numbers or of symbols with a space before, or white space."""
    return gpt2_pattern().findall(text)


def split_bert(text: str) -> list[str]:
    """Cut as BERT does: runs of other than punctuation, single punctuation marks, or white space."""
    return bert_pattern().findall(text)


def count_words(texts: Iterable[str], split: Callable[[str], list[str]]) -> Counter[str]:
    """How often each word occurs: training looks at every distinct word once, however long the text."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
    return counts
