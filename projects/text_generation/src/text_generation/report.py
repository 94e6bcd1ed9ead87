"""The report of a language model: what it knows, whether it obeys, how it writes under each decoding strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from roadmap_shared.report import (
    Block,
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Sample,
    Section,
    Table,
    Text,
    render,
)
from roadmap_shared.runs import Run
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Prompt
from text_generation.config import GenerationConfig
from text_generation.corpora.types import KIND_NAMES, Corpus
from text_generation.decoding.frontier import frontier_figure
from text_generation.decoding.strategies import StrategyResult
from text_generation.evaluation.language import LanguageScore
from text_generation.evaluation.obedience import CHECKS, Obedience
from text_generation.run_layout import MICROSCOPE
from text_generation.studies.running import Finished
from text_generation.training.report import training_section

SHOWN_STORIES = 3


@dataclass(frozen=True)
class Shown:
    """A prompt, and what each strategy made of it."""

    prompt: str
    texts: Sequence[str]
    """In the order of `Findings.strategies`."""


@dataclass(frozen=True)
class Findings:
    """All that the report shows."""

    config: GenerationConfig
    run: Run
    corpus: Corpus
    backend: HuggingFaceBackend
    language: Sequence[LanguageScore]
    obedience: Obedience | None
    prompts: Sequence[Prompt]
    strategies: Sequence[StrategyResult]
    curves: Mapping[str, Sequence[StrategyResult]]
    shown: Sequence[Shown]
    studies: Sequence[Finished]

    @property
    def n_parameters(self) -> int:
        """Weights of the model, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.backend.network.parameters())


def generation_report(found: Findings) -> str:
    """The whole page as HTML; also saves its figures in the run folder."""
    config = found.config
    trained = config.model.name is None
    model = f"a GPT-2 of {found.n_parameters / 1e6:.1f} million parameters" if trained else config.model.name
    report = Report(
        title="A language model and how it writes",
        subtitle=f"What {model} knows of held-out texts, whether it obeys, and what decoding makes of it.",
        project="text_generation",
        command=f"text-generation run --config {found.run.folder / 'config.yaml'}",
        facts={
            "texts": found.corpus.origin,
            "training / held-out documents": f"{len(found.corpus.train):,} / {len(found.corpus.validation):,}",
            "parameters": f"{found.n_parameters:,}",
            "context": f"{found.backend.context_window} tokens",
            "seed": str(found.run.seed),
            "PyTorch, transformers": f"{torch.__version__}, {transformers.__version__}",
            "seconds": round(found.run.seconds),
        },
        lead=[KeyFigures(list(headline(found)))],
        sections=[
            language_section(found),
            *([training_section(found.run, found.config, found.corpus)] if found.run.history() else []),
            *([] if found.obedience is None else [obedience_section(found.obedience)]),
            strategies_section(found),
            *(section for finished in found.studies if finished.study for section in finished.study.sections),
            *([studies_section(found.studies)] if found.studies else []),
            next_section(found),
        ],
    )
    return render(report)


def headline(found: Findings) -> list[KeyFigure]:
    """The figures at the top of the page."""
    figures = [
        KeyFigure(
            f"bits per byte, {KIND_NAMES[score.kind]}", score.model, f"5-gram {score.ngram:.2f}, gzip {score.gzip:.2f}"
        )
        for score in found.language
    ]
    if found.obedience is not None:
        figures += [
            KeyFigure(f"{check} as asked", found.obedience.rate(check), "share of held-out headers, greedy")
            for check in ("hero", "ending")
        ]
    return figures


def language_section(found: Findings) -> Section:
    """Bits per byte beside an n-gram model and compressors."""
    return Section(
        "What it knows",
        [
            _language_table(found.language),
            Text(
                "Bits per byte are what a text costs, whatever the tokens are: they compare models with different "
                "tokenizers, and even compressors, which perplexity does not. The 5-gram is an interpolated Kneser-Ney "
                "model over the same tokens, counted on all training documents. xz may copy whole passages from them, "
                "which no model of this size can: where it wins, the held-out documents repeat what was trained on."
            ),
        ],
    )


def _language_table(scores: Sequence[LanguageScore]) -> Table:
    """A row for each kind of document."""
    rows: list[list[Any]] = [
        [
            KIND_NAMES[score.kind],
            score.n_documents,
            score.model,
            score.ngram,
            score.saved,
            score.gzip,
            score.xz,
            score.perplexity.per_token,
            score.perplexity.per_word,
        ]
        for score in scores
    ]
    columns = ["held out", "documents", "this model", "5-gram", "better than the 5-gram by", "gzip"]
    columns += ["xz after training text", "perplexity a token", "a word"]
    caption = "Bits per byte on the same documents, less is better; 95 % bootstrap intervals over documents."
    return Table(columns, rows, caption=caption)


def obedience_section(obedience: Obedience) -> Section:
    """Rates of the checks and some stories."""
    rows: list[list[Any]] = [[check, obedience.rate(check)] for check in (*CHECKS, "obeyed")]
    blocks: list[Block] = [
        Table(
            ["demand", "met"],
            rows,
            caption=f"Greedy stories for {len(obedience.fields)} held-out headers; 95 % Wilson intervals.",
        ),
    ]
    for fields, story, check in list(zip(obedience.fields, obedience.stories, obedience.checks, strict=True))[
        :SHOWN_STORIES
    ]:
        missed = "; ".join(check.reasons.values())
        blocks.append(
            Sample(story, label=f"misses: {missed}" if missed else "meets every demand", prompt=fields.prompt)
        )
    intro = (
        "Each header names a theme, a hero, a mood and an ending, in a combination that no training story has. The "
        "grammar that wrote the training stories knows which words tell each of them, so obedience is checked exactly. "
        "`obeyed` is all four together."
    )
    return Section("Does it do what it is asked?", blocks, intro=intro)


def strategies_section(found: Findings) -> Section:
    """The tables of strategies, the frontier, and two prompts answered by each."""
    figure = frontier_figure(found.curves, [r for r in found.strategies if r.decoding.strategy == "sampling"])
    found.run.log_figure("frontier", figure)
    blocks: list[Block] = [
        _quality_table(found),
        _cost_table(found.strategies),
        Figure(
            figure,
            "Quality against diversity as temperature or top-p is turned.",
            alt="Two falling curves with the strategies as dots.",
        ),
        *(
            Sample(text, label=result.name.replace("_", " "), prompt=shown.prompt)
            for shown in found.shown
            for result, text in zip(found.strategies, shown.texts, strict=True)
        ),
    ]
    intro = (
        "One model, the same prompts, one decoding strategy after another. ln p is the model's own opinion of what it "
        "wrote; self-BLEU says how alike the samples of one prompt are. The other scores of diversity are taken on one "
        "answer to each prompt, and are the mean over the samples: distinct n-grams of all answers pooled, distinct "
        "2-grams of each answer by itself, and how far gzip compresses them together, which repeats make easy."
    )
    return Section("What decoding makes of it", blocks, intro=intro)


def _quality_table(found: Findings) -> Table:
    """What the strategies write: how probable, whether as asked, how varied."""
    rows: list[list[Any]] = [
        [
            result.name.replace("_", " "),
            result.logprob_per_token,
            result.checked,
            result.diversity.distinct_1,
            result.diversity.distinct_2,
            result.diversity.distinct_2_per_document,
            result.self_bleu,
            result.repetition,
            result.diversity.compression_ratio,
        ]
        for result in found.strategies
    ]
    columns = ["strategy", "ln p", "as asked", "distinct-1", "distinct-2", "distinct-2 a text", "self-BLEU", "repeats"]
    columns.append("compression ratio")
    sizes = found.config.evaluation
    caption = (
        f"{len(found.prompts)} prompts, {sizes.samples} samples where chance has a part, {sizes.max_new_tokens} new "
        "tokens at most. ln p: mean of a token; repeats: share of the 4-grams that occurred before in the answer."
    )
    return Table(columns, rows, caption=caption, formats=dict.fromkeys(columns[1:], ".3f"))


def _cost_table(strategies: Sequence[StrategyResult]) -> Table:
    """What the strategies take."""
    rows: list[list[Any]] = [
        [result.name.replace("_", " "), len(result.texts), result.new_tokens, result.seconds, result.tokens_per_second]
        for result in strategies
    ]
    return Table(
        ["strategy", "answers", "tokens", "seconds", "tokens/s"],
        rows,
        caption="What all answers of a strategy took, in batches; beams that were dropped count in the seconds only.",
        formats={"tokens": ",d", "tokens/s": ",.0f"},
    )


def studies_section(studies: Sequence[Finished]) -> Section:
    """What each study took, and which had nothing to ask."""
    rows: list[list[Any]] = [
        [finished.name, finished.seconds, "above" if finished.study else f"left out: {finished.why_not}"]
        for finished in studies
    ]
    table = Table(["study", "seconds", "findings"], rows, formats={"seconds": ",.0f"})
    return Section("What the studies took", [table])


def next_section(found: Findings) -> Section:
    """Where to go from here."""
    return Section(
        "What to try next",
        [
            Callout(
                f"`{MICROSCOPE}` in the run folder shows one generation token by token: what temperature, top-k, "
                "top-p and each beam kept and dropped.",
                kind="tip",
            ),
            Code(
                "text-generation run --trainer.steps 2000\n"
                "text-generation run --data.path stories.jsonl\n"
                "text-generation run --config full"
            ),
        ],
    )
