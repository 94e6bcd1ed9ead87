"""Why did I miss it? For each failed question, the first stage that lost the passage with the answer.

The inputs are plain data, what each stage handed on, so that any pipeline can be traced. The stages in their order:

- parsing: no document's text has the gold passage.
- chunking: documents have it, no chunk does: it was cut apart.
- truncation: a chunk has it, in the part that the encoder never sees, and the word search has not made up for it.
- sparse, dense: the chunk is not among the candidates of that search, and the other search has not ranked it among the
  first k either. If neither has it among its candidates: search.
- fusion: a search that had it among its own first k was outvoted, or all searches had it further down, or only another
  wording of the question had it.
- reranking: fusion had it among the first k, and the reranker or MMR put it behind them.
- answering: it was among the k passages that were read, and the answer is wrong or a refusal.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from rag_qa.corpus.questions import Gold
from rag_qa.corpus.quotes import find_quote
from rag_qa.types import Chunk, Document


class Stage(StrEnum):
    """Where a passage can get lost, in the order of the pipeline."""

    PARSING = "parsing"
    CHUNKING = "chunking"
    TRUNCATION = "truncation"
    SPARSE = "sparse"
    DENSE = "dense"
    SEARCH = "search"
    """All searches that ran, where there was more than one."""

    FUSION = "fusion"
    RERANKING = "reranking"
    ANSWERING = "answering"


ORDER = tuple(Stage)


@dataclass(frozen=True, kw_only=True)
class TracedQuestion:
    """What became of one question, stage by stage. All lists hold ids of chunks, best first."""

    id: str
    text: str
    gold: tuple[Gold, ...]
    """Passages that are needed; none if the documents do not hold the answer, or nobody has marked one."""

    candidates: Mapping[str, Sequence[int]]
    """What each search handed on, under the names `dense` and `sparse`; only those that ran."""

    final: Sequence[int]
    """The k chunks that the answer was to rest on."""

    fused: Sequence[int] = ()
    """The fused list before reranking and MMR, where there was one."""

    correct: bool | None = None
    """Whether the answer was right; None: nobody answered, retrieval alone is traced."""

    refused: bool = False
    answerable: bool = True


@dataclass(frozen=True, kw_only=True)
class Miss:
    """One failed question."""

    question_id: str
    question: str
    stage: Stage
    detail: str
    """What happened there, in one line."""

    gold: Gold | None
    """The passage that got lost; None where there is none to find."""


@dataclass(frozen=True, kw_only=True)
class MissReport:
    """All failed questions, in the order of the questions."""

    n_questions: int
    misses: tuple[Miss, ...]

    def counts(self) -> dict[Stage, int]:
        """Failures by stage, in the pipeline's order, all stages."""
        counter = Counter(miss.stage for miss in self.misses)
        return {stage: counter[stage] for stage in ORDER}

    def line(self) -> str:
        """The report in one line."""
        parts = [f"{stage} {count}" for stage, count in self.counts().items() if count]
        return f"{len(self.misses)} of {self.n_questions} questions failed" + (f": {', '.join(parts)}" if parts else "")


@dataclass(frozen=True)
class _Corpus:
    """What the pipeline holds, for all questions."""

    documents: Mapping[str, Document]
    chunks: Mapping[str, Sequence[Chunk]]
    """By source."""

    unseen_from: Mapping[int, int] = field(default_factory=dict)


def trace_misses(
    questions: Sequence[TracedQuestion],
    documents: Sequence[Document],
    chunks: Sequence[Chunk],
    unseen_from: Mapping[int, int] | None = None,
) -> MissReport:
    """Trace every failed question: a wrong answer, or, where nobody answered, a gold passage that was not retrieved.

    Args:
        questions: with what each stage handed on.
        documents: as they were read.
        chunks: as they are stored, with their ids.
        unseen_from: offset in the document from which on the encoder does not see a chunk, by the chunk's id;
            `TruncationReport.unseen_from`.

    Returns:
        Of a question with several gold passages, the one that was lost first.
    """
    by_source: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        by_source.setdefault(chunk.source, []).append(chunk)
    corpus = _Corpus({document.source: document for document in documents}, by_source, unseen_from or {})
    misses = tuple(miss for question in questions if (miss := _trace(question, corpus)) is not None)
    return MissReport(n_questions=len(questions), misses=misses)


def _trace(question: TracedQuestion, corpus: _Corpus) -> Miss | None:
    if question.correct:
        return None
    lost = [(stage, detail, gold) for gold in question.gold for stage, detail in [_lost(question, gold, corpus)]]
    if question.correct is None:
        lost = [entry for entry in lost if entry[0] != Stage.ANSWERING]
        if not lost:
            return None
    if lost:
        stage, detail, gold = min(lost, key=lambda entry: ORDER.index(entry[0]))
    else:
        stage, gold = Stage.ANSWERING, None
        detail = "no gold passage is known" if question.answerable else "answered although no document has the answer"
    return Miss(question_id=question.id, question=question.text, stage=stage, detail=detail, gold=gold)


def _lost(question: TracedQuestion, gold: Gold, corpus: _Corpus) -> tuple[Stage, str]:
    """Stage that lost one gold passage of a failed question, and how."""
    place = _place(gold, corpus.documents)
    if place is None:
        where = f"the text of {gold.source}" if gold.source in corpus.documents else "any document"
        return Stage.PARSING, f"{_shown(gold.quote)} is not in {where}"
    source, start, end = place
    around = [chunk for chunk in corpus.chunks.get(source, ()) if chunk.start < end and start < chunk.end]
    holders = [chunk for chunk in around if chunk.start <= start and end <= chunk.end]
    if not holders:
        parts = f"{len(around)} chunk{'s' if len(around) != 1 else ''}"
        return Stage.CHUNKING, f"{_shown(gold.quote)} lies across {parts} of {source}, whole in none"
    ids = {chunk.id for chunk in holders}
    if ids & set(question.final):
        rank = _rank(question.final, ids)
        return Stage.ANSWERING, f"read at rank {rank}, and " + ("refused" if question.refused else "answered wrongly")
    middle = (start + end) // 2
    unseen = all(corpus.unseen_from.get(chunk.id, chunk.end) <= middle for chunk in holders)
    return _lost_in_search(question, ids, unseen)


def _lost_in_search(question: TracedQuestion, ids: set[int], unseen: bool) -> tuple[Stage, str]:
    """Stage between the chunks and the k passages that lost all chunks with the gold passage."""
    k = len(question.final)
    ranks = {name: _rank(candidates, ids) for name, candidates in question.candidates.items()}
    detail = ", ".join(
        f"{name} rank {rank}" if rank else f"not among {len(question.candidates[name])} {name} candidates"
        for name, rank in ranks.items()
    )
    if (fused := _rank(question.fused, ids)) is not None:
        detail += f", fused rank {fused}"
        if fused <= k:
            return Stage.RERANKING, f"{detail}; put behind rank {k} after that"
    missed = [name for name, rank in ranks.items() if rank is None]
    outvoted = len(ranks) > 1 and any(rank is not None and rank <= k for rank in ranks.values())
    reworded = len(missed) == len(ranks) and fused is not None  # found by another wording of the question
    if outvoted or reworded or (not missed and len(ranks) > 1):
        return Stage.FUSION, f"{detail}; not among the first {k}"
    if unseen and "dense" in ranks:
        return Stage.TRUNCATION, f"the encoder does not see this part of the chunk; {detail}"
    if len(missed) == len(ranks) and len(ranks) != 1:
        return Stage.SEARCH, detail
    # One search only, or one of two that missed what the other has too far down.
    name = missed[0] if missed else next(iter(ranks))
    return Stage(name), detail if missed else f"{detail}; not among the first {k}"


def _place(gold: Gold, documents: Mapping[str, Document]) -> tuple[str, int, int] | None:
    """Where the passage is: where it says, or else where its words are, in its own document before all others."""
    own = documents.get(gold.source)
    if own is not None and own.text[gold.start : gold.end] == gold.quote:
        return gold.source, gold.start, gold.end
    for document in [own] if own is not None else documents.values():
        if place := find_quote(document.text, gold.quote):
            return document.source, *place
    return None


def _rank(ids: Sequence[int], wanted: set[int]) -> int | None:
    return next((rank for rank, chunk_id in enumerate(ids, start=1) if chunk_id in wanted), None)


def _shown(quote: str, length: int = 60) -> str:
    words = " ".join(quote.split())
    return repr(words if len(words) <= length else words[: length - 1] + "…")
