"""The figures and the page of `text-generation evaluate`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roadmap_shared.metrics import Interval
from roadmap_shared.report import Block, Callout, KeyFigure, KeyFigures, Report, Section, Table, Text
from roadmap_shared.report.blocks import Cell
from roadmap_shared.runs import Run
from text_generation.config.measuring import EvaluateConfig
from text_generation.corpora.types import Document, Reject
from text_generation.evaluation.given_texts import ORDERS, Known, Variety
from text_generation.run_layout import PROJECT

DOCUMENTS = "documents.jsonl"
"""In the run folder: what each measured document costs, a line each."""

SHOWN_REJECTS = 20
SHOWN_DOCUMENTS = 5
_BEGINNING = 80
"""Characters of a document in a table."""


@dataclass(frozen=True)
class Measured:
    """All that the page shows. `model` and `known` are None without perplexity."""

    documents: Sequence[Document]
    rejects: Sequence[Reject]
    model: str | None
    known: Known | None
    gzip: float
    """Bits per byte of all documents behind one another."""

    variety: Variety


def summary(measured: Measured) -> dict[str, Any]:
    """The figures of `summary.json`, flat, the headline first: bits per byte, or without a model distinct-2."""
    figures = {} if measured.known is None else _known_figures(measured.known)
    variety = measured.variety
    figures |= {f"distinct_{n}": variety.distinct[n] for n in (2, 1, 3)}
    figures |= {f"distinct_{n}_per_document": variety.distinct_per_document[n] for n in ORDERS}
    figures |= {
        "self_bleu": variety.self_bleu,
        "seq_rep_4": variety.seq_rep_4,
        "compression_ratio": variety.compression_ratio,
        "baseline_gzip": measured.gzip,
        "n_documents": len(measured.documents),
        "n_rejected": len(measured.rejects),
        "n_self_bleu_documents": variety.n_self_bleu,
        "n_words_and_signs": variety.n_words,
    }
    return figures


def _known_figures(known: Known) -> dict[str, Any]:
    found = known.perplexity
    figures: dict[str, Any] = {"bits_per_byte": found.bits_per_byte, **_ends("bits_per_byte", known.bits_per_byte)}
    figures |= {
        "perplexity_per_token": found.per_token,
        "perplexity_per_word": found.per_word,
        "perplexity_per_byte": found.per_byte,
        "bits_per_character": found.bits_per_character,
    }
    if known.ngram is not None:
        figures["baseline_ngram"] = known.ngram.bits_per_byte
        figures |= {"better_than_ngram": known.ngram.bits_per_byte - found.bits_per_byte}
        figures |= _ends("better_than_ngram", known.saved)
        figures["n_seen_by_ngram"] = known.n_seen
    figures |= {f"n_{unit}": sum(getattr(text, f"n_{unit}") for text in found.texts) for unit in _UNITS}
    return figures | {"window": found.window, "stride": found.stride}


_UNITS = ("tokens", "words", "characters", "bytes", "unknown")


def _ends(name: str, interval: Interval | None) -> dict[str, float]:
    return {} if interval is None else {f"{name}_low": interval.low, f"{name}_high": interval.high}


def evaluation_report(config: EvaluateConfig, run: Run, measured: Measured) -> Report:
    """The page on a run."""
    facts: dict[str, Any] = {"texts": str(config.data.path), "documents": f"{len(measured.documents):,}"}
    if measured.model is not None:
        facts["model"] = measured.model
    return Report(
        title="Given texts, measured",
        project=PROJECT,
        command=f"text-generation evaluate --config {run.folder / 'config.yaml'}",
        facts=facts | {"seed": run.seed, "seconds": round(run.seconds)},
        lead=[KeyFigures(_headline(measured))],
        sections=[
            *([] if measured.known is None else [_known_section(config, measured, measured.known)]),
            _variety_section(measured),
            *([_rejects_section(measured.rejects)] if measured.rejects else []),
        ],
    )


def _headline(measured: Measured) -> list[KeyFigure]:
    figures = [KeyFigure("distinct-2", measured.variety.distinct[2], "of all documents pooled")]
    if (known := measured.known) is None:
        return [*figures, KeyFigure("self-BLEU", measured.variety.self_bleu, "high: the documents are alike")]
    bits = known.bits_per_byte or known.perplexity.bits_per_byte
    beside = "" if known.ngram is None else f"{known.ngram.order}-gram {known.ngram.bits_per_byte:.2f}, "
    per_token = KeyFigure("perplexity", known.perplexity.per_token, "a token of this model's tokenizer")
    return [KeyFigure("bits per byte", bits, f"{beside}gzip {measured.gzip:.2f}"), per_token, *figures]


def _known_section(config: EvaluateConfig, measured: Measured, known: Known) -> Section:
    found = known.perplexity
    rows: list[list[Cell]] = [
        ["perplexity a token", found.per_token, "exp(nats / tokens); compares models with one tokenizer alone"],
        ["perplexity a word", found.per_word, "exp(nats / runs without blanks), as lm-evaluation-harness counts"],
        ["perplexity a byte", found.per_byte, "exp(nats / UTF-8 bytes)"],
        ["bits per byte", known.bits_per_byte or found.bits_per_byte, "nats / ln 2 / UTF-8 bytes (Gao et al. 2020)"],
        ["gzip, bits per byte", measured.gzip, "gzip -9 of all documents behind one another"],
    ]
    if known.ngram is not None:
        what = f"interpolated Kneser-Ney over the same tokens (Chen & Goodman 1999), counted on {config.ngram_path}"
        rows.append([f"{known.ngram.order}-gram, bits per byte", known.ngram.bits_per_byte, what])
        better = known.saved or known.ngram.bits_per_byte - found.bits_per_byte
        rows.append([f"better than the {known.ngram.order}-gram by", better, "bits per byte, on the same documents"])
    blocks: list[Block] = [
        Table(
            ["measure", "value", "definition"],
            rows,
            caption=f"{len(found.texts):,} documents; windows of {found.window} tokens, stride {found.stride}; nats: "
            "-ln p of all tokens. 95 % bootstrap intervals over documents.",
        ),
        *_warnings(known),
    ]
    if len(found.texts) > 1:
        blocks.append(_hardest(measured.documents, known))
    intro = "Less is better everywhere. Bits per byte compare models with different tokenizers, and even compressors."
    return Section("How probable the model finds them", blocks, intro=intro)


def _warnings(known: Known) -> list[Callout]:
    lines = []
    if known.bits_per_byte is None:
        lines.append("One document alone has no interval: part it with --data.separator, or give several.")
    if unknown := sum(text.n_unknown for text in known.perplexity.texts):
        lines.append(
            f"{unknown:,} tokens stand for what the tokenizer cannot write: the figures are better than they should be."
        )
    if known.n_seen:
        lines.append(
            f"{known.n_seen:,} of the documents can be found word for word among the n-gram model's training texts, "
            "which makes it look better than it is."
        )
    return [Callout(line, kind="warning") for line in lines]


def _hardest(documents: Sequence[Document], known: Known) -> Table:
    """The documents with the most bits per byte: often what does not belong there."""
    scored = [(loss.nats / math.log(2) / loss.n_bytes, number) for number, loss in enumerate(known.perplexity.texts)]
    rows: list[list[Cell]] = [
        [documents[number].source, bits, known.perplexity.texts[number].n_tokens, _beginning(documents[number].text)]
        for bits, number in sorted(scored, key=lambda one: (-one[0], one[1]))[:SHOWN_DOCUMENTS]
    ]
    columns = ["document", "bits per byte", "tokens", "begins with"]
    return Table(columns, rows, caption=f"The least probable documents. All of them stand in {DOCUMENTS}.")


def _beginning(text: str) -> str:
    line = " ".join(text[: 2 * _BEGINNING].split())
    return f"{line[:_BEGINNING]}…" if len(line) > _BEGINNING else line


def _variety_section(measured: Measured) -> Section:
    variety = measured.variety
    rows: list[list[Cell]] = [
        *(
            [
                f"distinct-{n}",
                variety.distinct[n],
                variety.distinct_per_document[n],
                _DISTINCT if n == 1 else "likewise",
            ]
            for n in ORDERS
        ),
        ["self-BLEU", variety.self_bleu, None, f"{_SELF_BLEU}; on {variety.n_self_bleu:,} documents"],
        ["seq-rep-4", None, variety.seq_rep_4, _SEQ_REP],
        ["compression ratio", variety.compression_ratio, None, _COMPRESSION],
    ]
    caution = (
        f"On {variety.n_words:,} words and signs of {len(measured.documents):,} documents. All of these depend on the "
        "number and length of the texts: only compare sets of as many texts, cut to the same length (Shaib et al. "
        "2024)."
    )
    columns = ["measure", "all documents", "mean of a document", "definition"]
    return Section("How varied they are", [Table(columns, rows), Text(caution)])


_DISTINCT = "distinct n-grams / n-grams (after Li et al. 2016): 1 where none occurs twice"
_SELF_BLEU = "mean BLEU of each document against the others (Zhu et al. 2018): high where they are alike"
_SEQ_REP = "1 - distinct 4-grams / 4-grams within a document (Welleck et al. 2020): high where it repeats itself"
_COMPRESSION = "bytes / bytes after gzip -9 (Shaib et al. 2024): high where much is repeated"


def _rejects_section(rejects: Sequence[Reject]) -> Section:
    rows: list[list[Cell]] = [[reject.source, reject.reason] for reject in rejects[:SHOWN_REJECTS]]
    more = len(rejects) - SHOWN_REJECTS
    table = Table(["row", "reason"], rows, caption=f"{more:,} more are not shown." if more > 0 else "")
    return Section("What was left out", [table], intro=f"{len(rejects):,} of the rows could not be used.")
