"""One model that many requests share, and how much each of them may ask for."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from bert_sentiment.inference.attributions import Attribution, integrated_gradients
from bert_sentiment.inference.predictor import Prediction, Predictor, unusable


@dataclass(frozen=True)
class SharedPredictor(Predictor):
    """A predictor that works for one thread at a time.

    The tokenizer's Rust part refuses a second borrower, and two forward passes at once share the cores at a loss. The
    lock is held for one call, so that a file, which is labelled in many calls, holds nobody up for long.
    """

    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def of(cls, predictor: Predictor) -> "SharedPredictor":
        """The same model, to be shared."""
        return cls(predictor.model, predictor.unsure_below, predictor.folder)

    @property
    def name(self) -> str:
        """Name of the run, or of the model folder: what a stranger may see of the path."""
        if self.folder is None:
            return "model"
        folder = self.folder.resolve()
        return folder.parent.name if folder.name == "model" else folder.name

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        with self.lock:
            return super().predict(texts, batch_size)

    def explain(self, text: str, label: str) -> Attribution:
        """Scores of the words of a text for a label, by integrated gradients."""
        with self.lock:
            return integrated_gradients(self.model, text, label)

    def problem(self, text: str, max_characters: int) -> str | None:
        """Why a text cannot be labelled, or None."""
        if len(text) > max_characters:
            return f"has {len(text):,} characters; at most {max_characters:,} are read"
        return unusable(text, self.model.preprocessing)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one request may hold."""

    max_texts: int = 64
    max_characters: int = 10_000
    max_explained: int = 16
    """Texts whose words are scored: each takes as long as some hundred labels."""

    @property
    def max_body_bytes(self) -> int:
        """Bytes of the largest request that keeps the other limits: every character escaped, as in `\\ud83d\\ude00`."""
        return self.max_texts * (12 * self.max_characters + 16) + 1024
