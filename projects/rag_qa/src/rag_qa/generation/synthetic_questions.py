"""Questions made from the user's own passages, for a calibration of refusal where there are none.

A sentence becomes a question by leaving out one of its phrases and keeping part of its other words, as a person asks
with some of the words that the text uses. Asked with its passage in the index it is answerable; asked with the passage
left out it is not. Such questions share more words with their passages than people's do, so that a probability that is
calibrated on them is somewhat too sure; `drop` says how many words are taken away.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rag_qa.document_processor.sentences import sentence_spans
from rag_qa.generation.span_types import span_type
from rag_qa.generation.words import STOP_WORDS, Token, is_chinese, terms, tokens
from rag_qa.types import Chunk

_FEWEST_TERMS, _MOST_WORDS = 6, 60
_WH = {"number": "how many", "year": "when", "date": "when", "money": "how much", "percent": "what percentage"}
_WH_ZH = {"number": "多少", "year": "何时", "date": "何时", "money": "多少钱", "percent": "百分之多少"}


@dataclass(frozen=True)
class SyntheticQuestion:
    """A question made from a sentence of a chunk."""

    text: str
    answer: str
    chunk: Chunk
    start: int
    end: int
    """Where the sentence stands in the chunk's document."""

    @property
    def sentence(self) -> str:
        """The sentence itself."""
        return self.chunk.text[self.start - self.chunk.start : self.end - self.chunk.start]


def make_questions(chunks: Sequence[Chunk], n: int, seed: int = 0, drop: float = 0.35) -> list[SyntheticQuestion]:
    """Up to `n` questions of different chunks.

    Args:
        chunks: the corpus.
        n: how many; fewer where the corpus has fewer fitting sentences.
        seed: of the choice.
        drop: share of the content words that are left out, beside the answer.
    """
    generator = random.Random(seed)
    order = list(chunks)
    generator.shuffle(order)
    found: list[SyntheticQuestion] = []
    for chunk in order:
        if len(found) == n:
            break
        spans = sentence_spans(chunk.text)
        generator.shuffle(spans)
        for start, end in spans:
            made = _question(chunk.text[start:end], generator, drop)
            if made is not None:
                found.append(SyntheticQuestion(*made, chunk, chunk.start + start, chunk.start + end))
                break
    return found


def _question(sentence: str, generator: random.Random, drop: float) -> tuple[str, str] | None:
    words = [word for word in tokens(sentence) if word.text[0].isalnum()]
    content = [i for i, word in enumerate(words) if terms(word.text)]
    if len(set(terms(sentence))) < _FEWEST_TERMS or len(words) > _MOST_WORDS or len(content) < 4:
        return None
    chinese = is_chinese(sentence)
    typed = [i for i in content if span_type([words[i]]) in _WH]
    gap = generator.choice(typed or content)
    kind = span_type([words[gap]])
    rest = [i for i in content if i != gap]
    kept = set(generator.sample(rest, max(3, round(len(rest) * (1 - drop)))) if len(rest) > 3 else rest)
    shown = [word for i, word in enumerate(words) if i in kept or (i != gap and word.text.lower() in STOP_WORDS)]
    wh = (_WH_ZH if chinese else _WH).get(kind, "什么" if chinese else "what")
    return _phrased(wh, shown, chinese), words[gap].text


def _phrased(wh: str, words: Sequence[Token], chinese: bool) -> str:
    if chinese:
        return "".join(word.text for word in words) + wh + "？"
    return f"{wh.capitalize()} {' '.join(word.text for word in words)}?"
