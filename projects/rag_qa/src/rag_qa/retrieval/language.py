"""How far an encoder can be trusted with the language of a question.

A model that was trained on English spells Chinese characters one by one, many of them as unknown, and its vectors of
Chinese text are close to noise: fused with equal weight they spoil what the words find. No labelled data is needed to
notice it: a vocabulary that was made from Chinese text holds the commonest characters.
"""

from typing import Protocol, runtime_checkable

from rag_qa.protocols import Encoder
from rag_qa.retrieval.words import HAN_CHARACTER

COMMON_HAN = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实"
)
"""About a hundred of the commonest characters; half of a Chinese text consists of the first 150 (Da 2004)."""

TOLERATED = 0.02
"""Share of the commonest characters that a vocabulary for Chinese may lack: two of a hundred."""


@runtime_checkable
class Spelling(Protocol):
    """An encoder that can tell what its vocabulary lacks."""

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that the vocabulary cannot spell."""
        ...


def trust(encoder: Encoder, query: str) -> float:
    """Return 0 to 1: the share of a question that is in characters which the encoder was trained on.

    Chinese characters count as foreign to an encoder whose vocabulary lacks more than `TOLERATED` of the commonest
    ones, and besides, any token that the vocabulary cannot spell. Encoders that cannot tell are trusted.
    """
    if not isinstance(encoder, Spelling):
        return 1.0
    letters = [character for character in query if character.isalnum()]
    chinese = sum(1 for character in letters if HAN_CHARACTER.match(character)) / max(len(letters), 1)
    foreign = chinese if chinese and not _knows_chinese(encoder) else 0.0
    return 1.0 - max(foreign, encoder.unknown_share(query))


_KNOWS_CHINESE: dict[str, bool] = {}
"""By fingerprint: it is a property of the model."""


def _knows_chinese(encoder: Spelling) -> bool:
    key = getattr(encoder, "fingerprint", "")
    if not key or key not in _KNOWS_CHINESE:
        _KNOWS_CHINESE[key] = encoder.unknown_share(COMMON_HAN) <= TOLERATED
    return _KNOWS_CHINESE[key]
