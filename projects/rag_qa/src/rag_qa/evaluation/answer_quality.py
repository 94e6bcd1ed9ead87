"""How good answers are: exact match and F1, answer in context, citations, refusal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.normalisation import cmrc_normal_form, cmrc_tokens, is_chinese, squad_normal_form
from rag_qa.types import Answer, Citation, Document
from roadmap_shared.metrics import Interval, bootstrap_interval, roc_auc, share_interval

FloatArray = NDArray[np.float64]


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction equals one of the answers but for case, punctuation and articles, else 0.

    Without answers the question cannot be answered, and the empty prediction is right (SQuAD 2.0, Rajpurkar et al.
    2018, §4). If an answer or the prediction is Chinese, CMRC 2018's rules hold, else those of SQuAD 2.0's script.
    """
    answers = answers or ("",)
    normal_form = cmrc_normal_form if is_chinese(prediction, *answers) else squad_normal_form
    return float(normal_form(prediction) in {normal_form(answer) for answer in answers})


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 of the prediction's words against an answer's.

    English (SQuAD, Rajpurkar et al. 2016, §6.1): words in common, each as often as both have it, whatever their order.
    Chinese (CMRC 2018, Cui et al. 2019, §4): the longest run of characters in common. Both: precision is its share of
    the prediction, recall its share of the answer, F1 = 2 precision recall / (precision + recall). Where nothing is
    left of one of both, it is 1 if nothing is left of either, else 0. Without answers as for `exact_match`.
    """
    answers = answers or ("",)
    one = _chinese_f1 if is_chinese(prediction, *answers) else _english_f1
    return max(one(prediction, answer) for answer in answers)


def _english_f1(prediction: str, answer: str) -> float:
    ours, theirs = squad_normal_form(prediction).split(), squad_normal_form(answer).split()
    return _f1((Counter(ours) & Counter(theirs)).total(), len(ours), len(theirs))


def _chinese_f1(prediction: str, answer: str) -> float:
    ours, theirs = cmrc_tokens(prediction), cmrc_tokens(answer)
    return _f1(_longest_common_run(ours, theirs), len(ours), len(theirs))


def _f1(common: int, n_ours: int, n_theirs: int) -> float:
    """The harmonic mean of common / n_ours and common / n_theirs."""
    if not n_ours or not n_theirs:
        return float(n_ours == n_theirs)
    return 2 * common / (n_ours + n_theirs)


def _longest_common_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run of tokens that both hold without a gap, in O(len(a) len(b))."""
    longest = 0
    before = [0] * (len(b) + 1)  # before[j]: length of the common run that ends before a's token and before b[j]
    for token in a:
        row = [0] + [before[j] + 1 if token == other else 0 for j, other in enumerate(b)]
        longest = max(longest, *row)
        before = row
    return longest


def answer_in_context(answers: Sequence[str], contexts: Sequence[str]) -> float:
    """1 if one of the contexts holds one of the answers, else 0: the most that a generator could get right.

    English answers are looked for as whole words, Chinese ones as strings of characters; case, punctuation, articles
    and white space do not count.
    """
    for answer in answers:
        wanted = _searchable(answer, answer)
        if wanted.strip() and any(wanted in _searchable(context, answer) for context in contexts):
            return 1.0
    return 0.0


def _searchable(text: str, answer: str) -> str:
    if is_chinese(answer):
        return "".join(cmrc_normal_form(text).split())
    return f" {squad_normal_form(text)} "


@dataclass(frozen=True, kw_only=True)
class CitationScores:
    """Citations of one answer, as shares between 0 and 1."""

    precision: float
    """Of the citations, those that are verbatim and lie in or around a gold passage; 0 without citations."""

    recall: float
    """Of the answer's statements, those with such a citation."""

    gold_cited: float
    """Of the gold passages, those that such a citation points at."""

    verbatim: float
    """Of the citations, those whose quote stands in its document where they say; 1 without citations."""


def citation_scores(answer: Answer, gold: Sequence[Gold], documents: Mapping[str, Document]) -> CitationScores:
    """Score the citations of an answer against the gold passages.

    The shape of ALCE's citation recall and precision (Gao et al. 2023, §3): recall asks of each statement whether its
    citations support it, precision of each citation whether it supports its statement. There a language model decides
    on support; here a citation supports if it is verbatim and shares at least half of the shorter of both with a gold
    passage, which needs no model, and is stricter: a passage that nobody marked as gold never supports.

    Args:
        answer: not refused.
        gold: passages of the question, at least one.
        documents: by source.

    Raises:
        ValueError: the answer is a refusal, or there is no gold passage.
    """
    if answer.refused or not gold:
        raise ValueError("citations are scored for given answers to questions with a gold passage")
    cited = [citation for statement in answer.statements for citation in statement.citations]
    good = [citation for citation in cited if _supports(citation, gold, documents)]
    backed = [any(citation in good for citation in statement.citations) for statement in answer.statements]
    pointed = [any(_meets(citation, passage) for citation in good) for passage in gold]
    return CitationScores(
        precision=len(good) / len(cited) if cited else 0.0,
        recall=sum(backed) / len(backed) if backed else 0.0,
        gold_cited=sum(pointed) / len(pointed),
        verbatim=sum(is_verbatim(citation, documents) for citation in cited) / len(cited) if cited else 1.0,
    )


def is_verbatim(citation: Citation, documents: Mapping[str, Document]) -> bool:
    """Whether the quote stands in the document where the citation says."""
    document = documents.get(citation.source)
    return document is not None and document.text[citation.start : citation.end] == citation.quote != ""


def _supports(citation: Citation, gold: Sequence[Gold], documents: Mapping[str, Document]) -> bool:
    return is_verbatim(citation, documents) and any(_meets(citation, passage) for passage in gold)


def _meets(citation: Citation, passage: Gold) -> bool:
    common = min(citation.end, passage.end) - max(citation.start, passage.start)
    shorter = min(citation.end - citation.start, passage.end - passage.start)
    return citation.source == passage.source and common > 0 and 2 * common >= shorter


def refusal_auroc(confidence: Sequence[float], answerable: Sequence[bool]) -> float:
    """Chance that an answerable question gets a higher confidence than an unanswerable one, a tie counting one half.

    Independent of where the threshold for refusing lies: 1 is perfect, 0.5 is by chance.

    Raises:
        ValueError: unequal lengths, a confidence that is not finite, or not both kinds of questions.
    """
    return roc_auc(np.asarray(confidence, dtype=np.float64), np.asarray(answerable, dtype=bool))


def refusal_auroc_interval(
    confidence: Sequence[float],
    answerable: Sequence[bool],
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The AUROC with its bootstrap interval; both kinds of questions are resampled apart, so that neither runs out.

    Raises:
        ValueError: as for `refusal_auroc`.
    """
    estimate = refusal_auroc(confidence, answerable)
    scores, positive = np.asarray(confidence, dtype=np.float64), np.asarray(answerable, dtype=bool)
    gaps = scores[positive][:, None] - scores[~positive][None, :]  # (n_answerable, n_unanswerable)
    above = (gaps > 0) + 0.5 * (gaps == 0)
    generator = np.random.default_rng(seed)
    n, m = above.shape
    draws = np.empty(n_resamples)
    for i in range(n_resamples):
        rows = np.bincount(generator.integers(n, size=n), minlength=n)
        columns = np.bincount(generator.integers(m, size=m), minlength=m)
        draws[i] = rows @ above @ columns / (n * m)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def mean_interval(scores: Sequence[float], *, confidence: float = 0.95, n_resamples: int = 2000) -> Interval:
    """Mean of scores between 0 and 1, one a question, with its interval: Wilson's if all are 0 or 1, else bootstrap.

    Raises:
        ValueError: no scores, or one outside 0 … 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isin(values, (0.0, 1.0)).all():
        return share_interval(values, confidence=confidence)
    return bootstrap_interval(values, confidence=confidence, n_resamples=n_resamples)
