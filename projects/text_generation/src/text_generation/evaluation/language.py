"""How well a model knows held-out documents, in bits per byte, beside what needs no training to speak of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roadmap_shared.metrics import Interval, paired_bootstrap
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.corpora.types import Corpus, Kind, texts_of
from text_generation.evaluation.ngram_baseline import NgramBaseline, NgramScore, compressed_bits_per_byte
from text_generation.evaluation.perplexity_calculator import Perplexity, measure_perplexity


@dataclass(frozen=True)
class LanguageScore:
    """Bits per byte of one kind of document, all measured on the same ones."""

    kind: Kind
    n_documents: int
    model: Interval
    perplexity: Perplexity
    ngram: float
    """Interpolated Kneser-Ney over the model's own tokens, five at a time, counted on all training documents."""

    saved: Interval
    """Bits per byte by which the model is better than the 5-gram, resampled over documents."""

    gzip: float
    """The held-out documents compressed by themselves."""

    xz: float
    """The same behind the training documents, which xz may copy from."""


def measure_language(
    backend: HuggingFaceBackend, corpus: Corpus, n_documents: int, batch_size: int
) -> list[LanguageScore]:
    """Score the model on at most `n_documents` held-out documents of each kind in the corpus."""
    # Counted once for all kinds: encoding the training texts is most of its work.
    ngrams = NgramBaseline(texts_of(corpus.train), encode=backend.encode, vocab_size=len(backend.tokenizer))
    return [
        _measure(backend, kind, ngrams, texts_of(corpus.train, kind), held_out, batch_size)
        for kind in corpus.kinds
        if len(held_out := texts_of(corpus.validation, kind)[:n_documents]) > 1
    ]


def _measure(
    backend: HuggingFaceBackend,
    kind: Kind,
    ngrams: NgramBaseline,
    train: Sequence[str],
    held_out: Sequence[str],
    batch_size: int,
) -> LanguageScore:
    found = measure_perplexity(backend.network, backend.tokenizer, held_out, batch_size=batch_size)
    ngram = ngrams.score(held_out)
    joined = "".join(held_out)
    return LanguageScore(
        kind=kind,
        n_documents=len(held_out),
        model=found.bits_per_byte_interval(),
        perplexity=found,
        ngram=ngram.bits_per_byte,
        saved=_saved(found, ngram),
        gzip=compressed_bits_per_byte(joined, "gzip"),
        xz=compressed_bits_per_byte(joined, "xz", primed_with="".join(train)),
    )


def _saved(model: Perplexity, ngram: NgramScore) -> Interval:
    """The n-gram model's bits per byte minus the model's, mean over documents, with a paired bootstrap."""
    n_bytes = np.array([text.n_bytes for text in model.texts])
    ours = np.array([text.nats for text in model.texts]) / np.log(2) / n_bytes
    theirs = ngram.nats / np.log(2) / n_bytes
    compared = paired_bootstrap(ours, theirs, higher_is_better=False)
    return Interval(compared.difference, compared.low, compared.high)
