"""How varied generated texts are: distinct-n, self-BLEU, repetition and compression.

A document is a text, split into words by `words`, or a sequence of token ids, taken as it is. N-grams never reach from
one document into the next. A score is NaN where nothing is there to be counted, as for documents shorter than n.

All of these depend on the number and length of the texts, so only compare systems on as many texts, cut to the same
length (Shaib et al. 2024, "Standardizing the Measurement of Text Diversity").
"""

import gzip
import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

Tokens = Sequence[Hashable]
Document = str | Tokens
"""A text, or the ids of its tokens."""

MAX_ORDER = 4
"""BLEU counts n-grams of 1 to 4 tokens."""

_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Chinese characters
_COMPRESSION_LEVEL = 9


@dataclass(frozen=True)
class DiversityScores:
    """The scores of one system's texts. NaN: too short, or too few, to tell."""

    distinct_1: float
    distinct_2: float
    distinct_3: float
    distinct_2_per_document: float
    """Mean over the documents, each by itself."""

    self_bleu: float
    seq_rep_4: float
    compression_ratio: float


def diversity(texts: Sequence[str]) -> DiversityScores:
    """All scores of texts, on words.

    Raises:
        ValueError: one string instead of a list of them.
    """
    documents = _tokenized(texts)
    per_document = [value for value in distinct_n_per_document(documents, 2) if not math.isnan(value)]
    return DiversityScores(
        distinct_1=distinct_n(documents, 1),
        distinct_2=distinct_n(documents, 2),
        distinct_3=distinct_n(documents, 3),
        distinct_2_per_document=_mean(per_document),
        self_bleu=self_bleu(documents),
        seq_rep_4=seq_rep_n(documents, 4),
        compression_ratio=compression_ratio(texts),
    )


def words(text: str) -> list[str]:
    """The tokens of a text, case kept: a run of letters, digits, underscores and combining marks; each Chinese
    character or Japanese kana by itself, since no blanks separate their words; each other sign by itself. Blanks are
    none.

    "It's 3.5 岁" -> It ' s 3 . 5 岁
    """
    return _word_pattern().findall(text)


@cache
def _word_pattern() -> re.Pattern[str]:
    # `\w` alone would cut Hindi and Thai words at their vowel signs, which are marks and no letters.
    marks = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[\w{re.escape(marks)}])+|[^\w\s]")


def ngrams(tokens: Tokens, n: int) -> list[Tokens]:
    """The len(tokens) - n + 1 n-grams of a document, in order; none where it is shorter than n."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def distinct_n(documents: Sequence[Document], n: int) -> float:
    """Distinct n-grams / n-grams of all documents pooled: 1 where no n-gram occurs twice.

    Li et al. (2016, "A Diversity-Promoting Objective Function for Neural Conversation Models") divide by the
    number of tokens; by the number of n-grams, as here and in most implementations, 1 can be reached.

    Raises:
        ValueError: n is below 1, or one string instead of a list of them.
    """
    grams = [gram for tokens in _tokenized(documents) for gram in ngrams(tokens, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def distinct_n_per_document(documents: Sequence[Document], n: int) -> list[float]:
    """`distinct_n` of each document by itself: unlike the pooled score blind to documents that are like each other.

    Raises:
        ValueError: n is below 1, or one string instead of a list of them.
    """
    return [distinct_n([tokens], n) for tokens in _tokenized(documents)]


def repetition_rate(documents: Sequence[Document], n: int) -> float:
    """Share of the n-grams, of all documents together, that occurred before in the same document.

    Long documents weigh more here, while in `seq_rep_n` all weigh the same.

    Raises:
        ValueError: n is below 1, or one string instead of a list of them.
    """
    grams = [ngrams(tokens, n) for tokens in _tokenized(documents)]
    total = sum(map(len, grams))
    return sum(len(each) - len(set(each)) for each in grams) / total if total else math.nan


def seq_rep_n(documents: Sequence[Document], n: int) -> float:
    """seq-rep-n: 1 - distinct n-grams / n-grams of a document, the mean over those that have any (Welleck et al. 2020,
    "Neural Text Generation with Unlikelihood Training"; there n = 4).

    Raises:
        ValueError: n is below 1, or one string instead of a list of them.
    """
    return _mean([1 - value for value in distinct_n_per_document(documents, n) if not math.isnan(value)])


def compression_ratio(texts: Sequence[str]) -> float:
    """UTF-8 bytes of all texts, joined by line feeds / bytes that gzip makes of them: the higher, the more repeats
    (Shaib et al. 2024).

    gzip looks back over 32 KiB only, and its 20 bytes of header and trailer weigh on short texts.

    Raises:
        ValueError: one string instead of a list of them.
    """
    _refuse_single(texts)
    content = "\n".join(texts).encode("utf-8", "surrogatepass")  # broken characters, too, can be repeated
    return len(content) / len(gzip.compress(content, _COMPRESSION_LEVEL)) if content else math.nan


def self_bleu(documents: Sequence[Document], max_order: int = MAX_ORDER) -> float:
    """Mean BLEU (`sentence_bleu`, 0 to 1) of each document with all others as references: the higher, the more alike
    they are (Zhu et al. 2018, "Texygen"). NaN for fewer than two documents that are not empty.

    Takes time in proportion to the length of all documents together: instead of comparing each with each, it keeps
    the two highest counts of every n-gram, the second of which serves the document that holds the first.

    Raises:
        ValueError: max_order is below 1, or one string instead of a list of them.
    """
    tokenized = [tokens for tokens in _tokenized(documents) if len(tokens)]
    if len(tokenized) < 2:
        return math.nan
    counts = [_counts(tokens, max_order) for tokens in tokenized]
    highest: dict[Tokens, tuple[int, int]] = {}  # n-gram -> its highest and second highest count in a document
    for grams in counts:
        for gram, count in grams.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (count, first) if count > first else (first, max(second, count))
    lengths = sorted(map(len, tokenized))

    def score(tokens: Tokens, grams: Counter[Tokens]) -> float:
        matches = [0] * max_order
        for gram, count in grams.items():
            first, second = highest[gram]
            matches[len(gram) - 1] += min(count, second if count == first else first)
        return _bleu(matches, len(tokens), _closest_other(lengths, len(tokens)))

    return _mean([score(tokens, grams) for tokens, grams in zip(tokenized, counts, strict=True)])


def sentence_bleu(hypothesis: Document, references: Sequence[Document], max_order: int = MAX_ORDER) -> float:
    """BLEU of one document from 0 to 1 (Papineni et al. 2002).

    The geometric mean of the n-gram precisions, each count clipped to the highest in a reference, times the brevity
    penalty exp(1 - r / c) where the length c is below that of the reference closest in length, r (of two as close, the
    shorter). Smoothing "exp": the k-th order without a match has 2^-k matches (Chen & Cherry 2014, method 3); orders
    longer than the document are left out. Equals `sacrebleu.sentence_bleu(..., tokenize="none") / 100` with its
    defaults, on the same tokens.

    Raises:
        ValueError: no references, or max_order is below 1.
    """
    tokens, *others = _tokenized([hypothesis, *references])
    if not others:
        raise ValueError("BLEU needs at least one reference")
    allowed: Counter[Tokens] = Counter()
    for reference in others:
        allowed |= _counts(reference, max_order)  # the highest count in any reference
    matches = [0] * max_order
    for gram, count in _counts(tokens, max_order).items():
        matches[len(gram) - 1] += min(count, allowed[gram])
    reference_length = min(map(len, others), key=lambda length: (abs(length - len(tokens)), length))
    return _bleu(matches, len(tokens), reference_length)


def _bleu(matches: Sequence[int], length: int, reference_length: int) -> float:
    """BLEU from the clipped matches of each order and the lengths."""
    if not any(matches):
        return 0.0
    orders = min(len(matches), length)
    logs, smoothing = 0.0, 1.0
    for n, match in enumerate(matches[:orders], start=1):
        if not match:
            smoothing /= 2
        logs += math.log((match or smoothing) / (length - n + 1))
    return math.exp(logs / orders + min(0.0, 1 - reference_length / length))


def _closest_other(lengths: Sequence[int], length: int) -> int:
    """Of the sorted lengths, one of which is the document's own, the closest among the others; the shorter of two."""
    place = bisect_left(lengths, length)
    neighbours = [*lengths[max(0, place - 1) : place], *lengths[place + 1 : place + 2]]
    return min(neighbours, key=lambda other: (abs(other - length), other))


def _counts(tokens: Tokens, max_order: int) -> Counter[Tokens]:
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, got {max_order}")
    return Counter(gram for n in range(1, max_order + 1) for gram in ngrams(tokens, n))


def _tokenized(documents: Sequence[Document]) -> list[Tokens]:
    _refuse_single(documents)
    return [words(document) if isinstance(document, str) else document for document in documents]


def _refuse_single(documents: Sequence[Document]) -> None:
    if isinstance(documents, str):
        raise ValueError("give a list of documents, not one string: each of its characters would count as one")


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return math.fsum(known) / len(known) if known else math.nan
