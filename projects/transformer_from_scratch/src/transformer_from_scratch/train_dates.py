"""`transformer-from-scratch dates`: train an encoder-decoder to rewrite dates of many written forms as ISO 8601.

`run` below is the whole story, as in `train_simple_lm`. The test dates occur in training in no form at all.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from roadmap_shared.metrics import bootstrap_interval, exact_match
from roadmap_shared.runs import start_run
from transformer_from_scratch import tokenizers
from transformer_from_scratch.config import DatesConfig
from transformer_from_scratch.date_data import DateData, DateResult, alphabet, generate_dates
from transformer_from_scratch.processes import start_processes
from transformer_from_scratch.seq2seq import SequenceTask, build_encoder_decoder, write_targets
from transformer_from_scratch.sequence_pairs import SPECIAL_TOKENS
from transformer_from_scratch.sequence_report import dates_report
from transformer_from_scratch.train_simple_lm import RESUMABLE_CHANGES
from transformer_from_scratch.trainer import mean_tokens_per_second, train

COMMON_FORMATS = (
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d/%m/%Y",
    "%d/%m/%y",
    "%d.%m.%Y",
    "%d.%m.%y",
    "%d-%m-%Y",
    "%d %B %Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%B %d, %Y",
    "%b %d, %Y",
    "%A, %d %B %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
    "%Y-%m-%dT%H:%M:%SZ",
)
"""What one would try first with `datetime.strptime`: the baseline."""


def run(config: DatesConfig) -> dict[str, Any]:
    """Train, rewrite the test dates, score and report; returns the summary."""
    with (
        start_processes(config.trainer) as processes,
        start_run(
            config, project="transformer_from_scratch", command="dates", resumable_changes=RESUMABLE_CHANGES
        ) as run,
    ):
        data = generate_dates(config.data, run.seed)
        tokenizer = tokenizers.train("character", alphabet(), special_tokens=SPECIAL_TOKENS)
        task = SequenceTask(data.pairs, tokenizer, config, run.seed)
        model = build_encoder_decoder(config.model, tokenizer.vocab_size, run.seed)
        model = train(model, task, config.trainer, run, processes)
        written = write_targets(model, tokenizer, [source for source, _ in data.pairs.test], config.evaluation)
        tested = tested_dates(data, written)
        scores = score(tested, config.evaluation.n_resamples)
        if not run.is_main:
            return scores
        scores["tokens_per_second"] = mean_tokens_per_second(run.history())
        return run.finish(scores, dates_report(model, task, data.pairs, config, scores, tested, run))


def tested_dates(data: DateData, written: Sequence[str]) -> list[DateResult]:
    """The test pairs with what the model wrote and what the baseline finds."""
    return [
        DateResult(form, source, target, output, parse_common(source))
        for form, (source, target), output in zip(data.test_forms, data.pairs.test, written, strict=True)
    ]


def parse_common(text: str) -> str:
    """The ISO form of a date that is written in one of the common formats; empty for any other."""
    text = " ".join(text.split())
    for date_format in COMMON_FORMATS:
        try:
            return datetime.strptime(text, date_format).date().isoformat()
        except ValueError:
            continue
    return ""


def score(tested: Sequence[DateResult], n_resamples: int) -> dict[str, Any]:
    """Share of test dates that are exactly right, with its interval, beside that of the baseline."""
    expected = [item.expected for item in tested]
    exact = bootstrap_interval(exact_match([item.model for item in tested], expected), n_resamples=n_resamples)
    baseline = exact_match([item.baseline for item in tested], expected)
    return {
        "exact": exact.estimate,
        "exact_low": exact.low,
        "exact_high": exact.high,
        "baseline_strptime": float(baseline.mean()),
        "n_test": len(tested),
    }
