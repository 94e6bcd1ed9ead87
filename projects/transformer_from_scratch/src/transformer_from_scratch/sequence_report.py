"""The reports of the two sequence tasks: dates and translation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from roadmap_shared.metrics import Interval
from roadmap_shared.report import (
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Section,
    Table,
    Text,
    figure_style,
    render,
)
from roadmap_shared.runs import Run
from transformer_from_scratch import figures
from transformer_from_scratch.bleu import System
from transformer_from_scratch.config import DatesConfig, TranslationConfig
from transformer_from_scratch.date_data import EXAMPLE, FORMS, DateResult, fields
from transformer_from_scratch.models import EncoderDecoder, count_parameters
from transformer_from_scratch.seq2seq import SequenceTask, cross_attention_maps
from transformer_from_scratch.sequence_pairs import Pair, SequencePairs

MOST_MAP_TOKENS = 40
"""Attention maps of more tokens have no legible labels."""


def dates_report(
    model: EncoderDecoder,
    task: SequenceTask,
    pairs: SequencePairs,
    config: DatesConfig,
    scores: Mapping[str, Any],
    tested: Sequence[DateResult],
    run: Run,
) -> str:
    """The whole page of `dates` as HTML; also saves each figure in the run folder."""
    exact = Interval(scores["exact"], scores["exact_low"], scores["exact_high"])
    example = ("{weekday}, {d} {month} {year}".format(**fields(EXAMPLE)), EXAMPLE.isoformat())
    with figure_style():
        report = Report(
            title="Dates in many forms, rewritten as ISO 8601",
            subtitle=f"An encoder-decoder of {count_parameters(model):,} parameters reads a date character by "
            "character and writes its standard form.",
            project="transformer_from_scratch",
            command=f"transformer-from-scratch dates --config {run.folder / 'config.yaml'}",
            facts=facts(task, pairs, run),
            lead=[
                KeyFigures(
                    [
                        KeyFigure("exactly right", exact, "share of test dates, none of them trained on in any form"),
                        KeyFigure("baseline", round(scores["baseline_strptime"], 3), "common formats of strptime"),
                        KeyFigure("test dates", scores["n_test"], f"in {len(FORMS)} forms"),
                        training_speed(scores),
                    ]
                )
            ],
            sections=[
                learning_section(config, run),
                form_section(tested),
                mistake_section(tested, config.evaluation.n_examples),
                attention_section(model, task, example, run),
                Section(
                    "What to try next",
                    [
                        Text("Fewer examples, another order of the same parts, or no order at all:"),
                        Code("transformer-from-scratch dates --data.n_train 10000"),
                        Code("transformer-from-scratch dates --model.norm_position post"),
                        Code("transformer-from-scratch dates --model.positions none"),
                    ],
                ),
            ],
        )
        return render(report)


def form_section(tested: Sequence[DateResult]) -> Section:
    """Accuracy of model and baseline by written form, worst first."""
    rows = []
    for form in dict.fromkeys(item.form for item in tested):
        items = [item for item in tested if item.form == form]
        right = np.mean([item.model == item.expected for item in items])
        baseline = np.mean([item.baseline == item.expected for item in items])
        rows.append([form.format(**fields(EXAMPLE)), len(items), float(right), float(baseline)])
    rows.sort(key=lambda row: row[2])
    table = Table(
        ["form", "test dates", "exactly right", "strptime"],
        rows,
        caption=f"Every form, shown with the date {EXAMPLE.isoformat()}; worst first.",
        formats={"exactly right": ".1%", "strptime": ".1%"},
    )
    return Section(
        "Which forms are hard",
        [table],
        "In numbers alone the day stands before the month, and two digits of a year mean 1969 to 2068. Case and spaces "
        "vary in every form.",
    )


def mistake_section(tested: Sequence[DateResult], most: int) -> Section:
    """Test dates that came out wrong, or some that came out right if none did."""
    wrong = [item for item in tested if item.model != item.expected]
    shown = (wrong or list(tested))[:most]
    table = Table(
        ["written", "should be", "model", "strptime"],
        [[item.written, item.expected, item.model, item.baseline or None] for item in shown],
        caption=f"{len(wrong)} of {len(tested)} test dates are wrong."
        + (f" The first {len(shown)}:" if wrong else " Some of the right ones:"),
    )
    return Section("Its mistakes", [table])


def translation_report(
    model: EncoderDecoder,
    task: SequenceTask,
    pairs: SequencePairs,
    config: TranslationConfig,
    scores: Mapping[str, Any],
    systems: Mapping[str, System],
    run: Run,
) -> str:
    """The whole page of `translate` as HTML; also saves each figure in the run folder."""
    bleu = Interval(scores["bleu"], scores["bleu_low"], scores["bleu_high"])
    with figure_style():
        report = Report(
            title="Translation, trained from scratch",
            subtitle=f"An encoder-decoder of {count_parameters(model):,} parameters learns from sentence pairs alone.",
            project="transformer_from_scratch",
            command=f"transformer-from-scratch translate --config {run.folder / 'config.yaml'}",
            facts=facts(task, pairs, run) | {"sacrebleu": scores["sacrebleu"]},
            lead=[
                KeyFigures(
                    [
                        KeyFigure("BLEU", bleu, f"{scores['n_test']:,} test sentences"),
                        KeyFigure("chrF", round(scores["chrf"], 1), "characters instead of words"),
                        KeyFigure("word by word", round(scores["baseline_words_bleu"], 1), "BLEU of the baseline"),
                        training_speed(scores),
                    ]
                )
            ],
            sections=[
                learning_section(config, run),
                system_section(systems),
                translation_section(systems, pairs, config.evaluation.n_examples),
                attention_section(model, task, short_pair(pairs.test, task), run),
                Section(
                    "What to try next",
                    [
                        Text("The other direction (swap the two files), a larger vocabulary, a wider beam:"),
                        Code("transformer-from-scratch translate --data.path pairs.tsv --data.vocabulary 8000"),
                        Code("transformer-from-scratch translate --data.path pairs.tsv --evaluation.beams 8"),
                        Callout(
                            "BLEU counts words shared with one reference. It compares systems on one test set; it does "
                            "not say whether a translation is good.",
                            "tip",
                        ),
                    ],
                ),
            ],
        )
        return render(report)


def system_section(systems: Mapping[str, System]) -> Section:
    """Scores of the model beside those of the baselines."""
    table = Table(
        ["translation", "BLEU", "chrF"],
        [[system.name, system.scores.bleu, system.scores.chrf] for system in systems.values()],
        caption="On all test sentences, with 95 % intervals. Higher is better.",
        highlight_best={"BLEU": "max", "chrF": "max"},
        formats={"chrF": ".1f"},
    )
    return Section(
        "What it is worth",
        [table],
        "Word by word takes for each word the one that most often stands in the same sentence pairs (Dice "
        "coefficient), in the order of the source.",
    )


def translation_section(systems: Mapping[str, System], pairs: SequencePairs, n_examples: int) -> Section:
    """Test sentences, as people and as the model translated them."""
    best = systems.get("beam", systems["greedy"]).translations
    rows = [[source, target, output] for (source, target), output in zip(pairs.test, best, strict=True)]
    return Section(
        "How it translates",
        [Table(["source", "reference", "this Transformer"], rows[:n_examples], caption="The first test sentences.")],
    )


def short_pair(pairs: Sequence[Pair], task: SequenceTask) -> Pair:
    """The first pair that is short enough for an attention map, or the shortest."""

    def n_tokens(pair: Pair) -> int:
        return max(len(task.tokenizer.encode(text)) for text in pair)

    return next((pair for pair in pairs if n_tokens(pair) < MOST_MAP_TOKENS), min(pairs, key=n_tokens))


def facts(task: SequenceTask, pairs: SequencePairs, run: Run) -> dict[str, object]:
    """The small print of both reports."""
    return {
        "pairs": f"{len(task.train):,} to train on, {len(task.validation):,} for validation, "
        f"{len(pairs.test):,} to test on",
        "data": pairs.origin,
        "vocabulary": f"{task.tokenizer.vocab_size:,} tokens",
        "seed": run.seed,
        "PyTorch": f"{torch.__version__}, {torch.get_num_threads()} CPU threads",
        "seconds": round(run.seconds),
    }


def training_speed(scores: Mapping[str, Any]) -> KeyFigure:
    """The tile of the throughput."""
    return KeyFigure("training speed", round(scores["tokens_per_second"]), "target tokens per second, median step")


def learning_section(config: DatesConfig | TranslationConfig, run: Run) -> Section:
    """Loss over the steps."""
    figure = figures.loss_curve(run.history(), {}, "nats per target token")
    run.log_figure("loss", figure)
    smoothing = config.trainer.label_smoothing
    note = f" The training loss includes label smoothing of {smoothing:g}, the validation loss does not." * (
        smoothing > 0
    )
    return Section(
        "What it learned",
        [Figure(figure, "Training and validation loss, and the learning rate.", "loss against step")],
        f"The loss is the surprise at the next token of the target, given the source and the target so far.{note}",
    )


def attention_section(model: EncoderDecoder, task: SequenceTask, pair: Pair, run: Run) -> Section:
    """Where the decoder looks in the source while it writes one target."""
    maps, source, target = cross_attention_maps(model, task.tokenizer, pair)
    figure = figures.cross_attention(maps, source, target)
    run.log_figure("cross_attention", figure)
    return Section(
        "Where it looks while it writes",
        [Figure(figure, f"Cross-attention of each layer, mean of its heads: {pair[0]!r}.", "cross-attention")],
        "Each row shows where in the source the decoder looks before it writes the token on the left. Rows sum to 1.",
    )
