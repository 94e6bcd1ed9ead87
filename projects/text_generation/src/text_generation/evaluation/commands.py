"""`text-generation evaluate`: perplexity and diversity of texts from a file or folder."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.metrics import perplexity
from roadmap_shared.report import render
from roadmap_shared.runs import start_run
from text_generation.config.measuring import EvaluateConfig, TextsConfig
from text_generation.corpora.readers import read_path
from text_generation.corpora.types import Document, Reject, texts_of
from text_generation.evaluation.given_texts import Known, measure_known, measure_variety
from text_generation.evaluation.given_texts_report import DOCUMENTS, Measured, evaluation_report, summary
from text_generation.evaluation.ngram_baseline import compressed_bits_per_byte
from text_generation.run_layout import PROJECT
from text_generation.terminal_text import told
from text_generation.text_generator import open_backend


def run_evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Measure all texts that the settings name, and report.

    Raises:
        UserError: the texts or the model cannot be read, no text can be used, or the window does not fit the model.
    """
    with start_run(config, project=PROJECT, command="evaluate") as run:
        documents, rejects = _read(config.data.path, config.data)
        texts = texts_of(documents)
        known = model = None
        if config.perplexity:
            known, model = _measure_known(config, texts)
        measured = Measured(
            documents=documents,
            rejects=rejects,
            model=model,
            known=known,
            gzip=compressed_bits_per_byte("".join(texts), "gzip"),
            variety=measure_variety(texts, self_bleu_documents=config.self_bleu_documents, seed=run.seed),
        )
        if known is not None:
            atomic_write(run.folder / DOCUMENTS, "".join(_lines(documents, known)))
        return run.finish(summary(measured), render(evaluation_report(config, run, measured)))


def _measure_known(config: EvaluateConfig, texts: Sequence[str]) -> tuple[Known, str]:
    """What the model makes of the texts, and its name. torch is imported here: without perplexity nobody waits for
    it."""
    from text_generation.backends.hf import HuggingFaceBackend

    train = None
    if config.ngram_path is not None:
        if not config.ngram_path.exists():  # the reader's own message names --data.path
            raise UserError(f"--ngram_path {config.ngram_path}: there is no such file or folder")
        train = texts_of(_read(config.ngram_path, config.data, limited=False)[0])
    backend = open_backend(config.backend)
    assert isinstance(backend, HuggingFaceBackend)  # the config refuses the others
    known = measure_known(
        backend, texts, train=train, order=config.ngram_order, window=config.window, stride=config.stride
    )
    return known, backend.name


def _read(path: Path, config: TextsConfig, limited: bool = True) -> tuple[list[Document], list[Reject]]:
    """The documents of a path and what was left out; says both.

    Raises:
        UserError: the path cannot be read, or holds no document that can be used.
    """
    documents: list[Document] = []
    rejects: list[Reject] = []
    for item in read_path(path, config.separator, config.text_column):
        if isinstance(item, Reject):
            rejects.append(item)
            continue
        documents.append(item)
        if limited and len(documents) == config.max_documents:
            break
    for line in told(rejects):
        print(line)
    if not documents:
        raise UserError(f"{path}: holds no document that can be used")
    print(f"{path}: {len(documents):,} documents, {sum(len(each.text.encode()) for each in documents) / 1e6:.2f} MB")
    return documents, rejects


def _lines(documents: Sequence[Document], known: Known) -> Iterator[str]:
    """A JSON line for each document: where it stands and what it costs."""
    for document, loss in zip(documents, known.perplexity.texts, strict=True):
        figures = {
            "source": document.source,
            "bits_per_byte": loss.nats / math.log(2) / loss.n_bytes,
            "perplexity": perplexity(loss.nats / loss.n_tokens),
            "tokens": loss.n_tokens,
            "bytes": loss.n_bytes,
        }
        yield json.dumps(figures, ensure_ascii=False) + "\n"
