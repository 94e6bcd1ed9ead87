"""Which words of which passage each sentence of an answer rests on, and where nothing does.

A sentence is supported when a run of sentences of a passage is like it in words and in meaning, and when every number
and name that the sentence states stands there too. Similarity alone lets the likeliest error pass: the right sentence
with a wrong figure.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from rag_qa.document_processor.sentences import sentence_spans
from rag_qa.generation.injection_defence import suspicious_sentences
from rag_qa.generation.words import STOP_WORDS, terms
from rag_qa.protocols import Encoder
from rag_qa.types import Citation, Document, Retrieved, Statement

_MARK = re.compile(r"\s*[\[【](\d{1,3}(?:\s*[,，、;-]\s*\d{1,3})*)[\]】]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<![\w])[A-Z][\w'’-]+|[a-z]\w*_\w+")
_LONGEST_SUPPORT = 2
"""Sentences of one supporting span."""


@dataclass(frozen=True)
class MarkedSentence:
    """A sentence of generated text without its marks, and the passages that the marks name, counted from 1."""

    text: str
    cited: tuple[int, ...]


def marked_sentences(text: str) -> list[MarkedSentence]:
    """Cut an answer into sentences and take out its marks `[1]`, `[1, 2]`, `[1-3]` and `【1】`.

    Marks directly behind a sentence's full stop belong to that sentence.
    """
    plain, marks = "", []
    last = 0
    for match in _MARK.finditer(text):
        plain += text[last : match.start()]
        marks.append((len(plain), _numbers(match.group(1))))
        last = match.end()
    plain += text[last:]
    found = []
    spans = sentence_spans(plain)
    for i, (start, end) in enumerate(spans):
        following = spans[i + 1][0] if i + 1 < len(spans) else len(plain) + 1
        # A mark at place p stands before character p: behind a full stop p is the sentence's end.
        cited = [number for place, numbers in marks if start < place <= max(end, following - 1) for number in numbers]
        found.append(MarkedSentence(plain[start:end], tuple(dict.fromkeys(cited))))
    return found


def _numbers(inside: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r"\s*[,，、;]\s*", inside):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        numbers.extend(range(low, min(high, low + 20) + 1))
    return numbers


def cite(
    answer_text: str,
    retrieved: Sequence[Retrieved],
    encoder: Encoder,
    threshold: float = 0.5,
    mode: str = "strike",
    *,
    distrust_instructions: bool = False,
) -> tuple[Statement, ...]:
    """The answer's sentences with the verbatim spans that support them.

    The passages that a sentence cites are searched first, and the others only where those do not support it.

    Args:
        answer_text: generated text with marks like [1], numbers counted from 1 in the order of `retrieved`.
        retrieved: the passages that the model read.
        encoder: gives the similarity of meaning.
        threshold: least similarity, the mean of term overlap and cosine, 0 to 1.
        mode: `strike` leaves unsupported sentences out, `mark` keeps them with `supported` False.
        distrust_instructions: sentences that read like instructions to a model support nothing.
    """
    sentences = marked_sentences(answer_text)
    places = _places(retrieved, distrust_instructions)
    if not sentences:
        return ()
    texts = [retrieved[p].chunk.text[start:end] for p, start, end in places]
    vectors = encoder.encode([*(s.text for s in sentences), *texts])
    cosines = vectors[: len(sentences)] @ vectors[len(sentences) :].T  # (S, P)
    statements = []
    for row, sentence in zip(cosines, sentences, strict=True):
        found = _best_place(sentence, places, texts, row, retrieved, threshold)
        if found is None and mode == "strike":
            continue
        citations = () if found is None else (_citation(retrieved[found[0]], found[1], found[2]),)
        statements.append(Statement(text=sentence.text, citations=citations, supported=found is not None))
    return tuple(statements)


def on_their_pages(
    statements: Sequence[Statement], document_of: Callable[[str], Document | None]
) -> tuple[Statement, ...]:
    """The statements with the page on which each quote begins: its passage may begin on one before.

    Args:
        statements: with citations.
        document_of: document by source, None where it is gone; asked once for each.
    """
    known = cache(document_of)

    def placed(citation: Citation) -> Citation:
        document = known(citation.source)
        return citation if document is None else replace(citation, page=document.page_at(citation.start).number)

    return tuple(replace(one, citations=tuple(map(placed, one.citations))) for one in statements)


def _places(retrieved: Sequence[Retrieved], distrust: bool) -> list[tuple[int, int, int]]:
    """(passage, start, end) of each sentence and each pair of neighbouring sentences."""
    found = []
    for p, item in enumerate(retrieved):
        spans = sentence_spans(item.chunk.text)
        if distrust:
            bad = {(suspicion.start, suspicion.end) for suspicion in suspicious_sentences(item.chunk.text)}
            spans = [span for span in spans if span not in bad]
        for i in range(len(spans)):
            found.extend((p, spans[i][0], spans[j][1]) for j in range(i, min(i + _LONGEST_SUPPORT, len(spans))))
    return found


def _best_place(
    sentence: MarkedSentence,
    places: Sequence[tuple[int, int, int]],
    texts: Sequence[str],
    cosines: Sequence[float],
    retrieved: Sequence[Retrieved],
    threshold: float,
) -> tuple[int, int, int] | None:
    wanted = set(terms(sentence.text))
    for within_cited in (True, False):
        scored = []
        for place, text, cosine in zip(places, texts, cosines, strict=True):
            if (place[0] + 1 in sentence.cited) is not within_cited:
                continue
            overlap = len(wanted & set(terms(text))) / len(wanted) if wanted else 0.0
            score = (overlap + max(0.0, float(cosine))) / 2
            if score >= threshold and not missing_facts(sentence.text, text):
                scored.append((score - 1e-4 * len(text) / 100, place))
        if scored:
            return max(scored)[1]
    return None


def missing_facts(statement: str, passage: str) -> list[str]:
    """Numbers and names of a statement that do not stand in the passage; the words that begin its sentences are no
    names because of their capital."""
    digits = {number.replace(",", "") for number in _NUMBER.findall(passage)}
    missing = [number for number in _NUMBER.findall(statement) if number.replace(",", "") not in digits]
    lowered = passage.casefold()
    starts = {start for start, _ in sentence_spans(statement)}
    for match in _NAME.finditer(statement):
        name = match.group().removesuffix("'s").removesuffix("’s")
        if match.start() in starts and "_" not in name and not name[1:2].isupper():
            continue
        if name.casefold() not in lowered and name.casefold() not in STOP_WORDS:
            missing.append(name)
    return missing


def _citation(item: Retrieved, start: int, end: int) -> Citation:
    chunk = item.chunk
    return Citation(
        source=chunk.source,
        page=chunk.page,
        start=chunk.start + start,
        end=chunk.start + end,
        quote=chunk.text[start:end],
        chunk_id=chunk.id,
    )


def citation_of(item: Retrieved, start: int, end: int) -> Citation:
    """The citation of a retrieved chunk's `text[start:end]`.

    Raises:
        ValueError: the span is empty or does not lie within the chunk.
    """
    if not 0 <= start < end <= len(item.chunk.text):
        raise ValueError(f"[{start}, {end}) is no span of a chunk of {len(item.chunk.text)} characters")
    return _citation(item, start, end)
