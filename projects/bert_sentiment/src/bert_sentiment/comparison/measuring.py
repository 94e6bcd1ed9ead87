"""Which fits a comparison needs, and their results: taken from the folder of results, or measured and kept there."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bert_sentiment.comparison.data_sets import NamedSplits, take_share, too_small, why_no_test
from bert_sentiment.comparison.fitting import Fit, Fitted, fit_model
from bert_sentiment.comparison.keys import fit_key, result_key
from bert_sentiment.comparison.results import Result, ResultCache
from bert_sentiment.config import CompareConfig
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write
from roadmap_shared.runs import Run

FIT_FAILURES = (UserError, MemoryError, torch.OutOfMemoryError)
"""What ends one fit, and leaves the others. All else is a bug, or ends the comparison."""

_CLOCK = "seconds.json"


@dataclass(frozen=True)
class Place:
    """Where a result stands: which model, trained on how much of which data set, tested on which."""

    model: str
    trained_on: str
    tested_on: str
    share: float = 1.0


@dataclass
class Measured:
    """The results of a comparison.

    `failures`: (model, data set) -> why it could not be trained there. `left_out`: why points of a curve are missing.
    """

    results: dict[Place, Result] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    n_measured: int = 0
    n_kept: int = 0


def measure(config: CompareConfig, data_sets: Sequence[NamedSplits], cache: ResultCache, run: Run) -> Measured:
    """All results of the comparison. A model that cannot be fitted is named, and the others go on.

    Raises:
        UserError: no model at all could be fitted.
    """
    measured = Measured()
    fits = list(planned_fits(config, data_sets, measured))
    for number, fit in enumerate(fits, start=1):
        pair = (str(fit.model), fit.data.name)
        if pair in measured.failures:
            continue
        try:
            results, is_new = results_of(fit, tests_of(fit, data_sets, config), config, cache)
        except FIT_FAILURES as error:
            measured.failures[pair] = _reason(error, fit)
            print(f"{fit}: failed, the others go on: {measured.failures[pair]}", file=sys.stderr)
            continue
        except KeyboardInterrupt:
            print(f"{number - 1} of {len(fits)} fits are done and kept: the same command continues", file=sys.stderr)
            raise
        measured.n_measured += is_new
        measured.n_kept += not is_new
        for tested_on, result in results.items():
            measured.results[Place(*pair, tested_on, fit.share)] = result
        print(f"[{number}/{len(fits)}] {_told(fit, results, is_new)}", flush=True)
        own = results[fit.data.name]
        run.log(number, seconds=own.seconds, accuracy=accuracy_of(own, fit.data))
    if not measured.results:
        reasons = "; ".join(f"{model} on {data}: {reason}" for (model, data), reason in measured.failures.items())
        raise UserError(f"no model could be measured: {reasons}")
    return measured


def planned_fits(config: CompareConfig, data_sets: Sequence[NamedSplits], measured: Measured) -> Iterator[Fit]:
    """Every model on all texts of every data set, then the shares for the curve: a comparison that is interrupted has
    its table first. Shares that are too small go to `measured.left_out`."""
    for data in data_sets:
        for model in config.model_specs:
            yield Fit(model, data, 1.0, data.splits.train)
    for data in data_sets:
        for share in sorted({share for share in config.shares if share < 1}, reverse=True):
            if reason := too_small(data.splits.train, share, config.run.seed):
                measured.left_out.append(f"{data.name}: {reason}")
                continue
            for model in config.model_specs:
                yield Fit(model, data, share, take_share(data.splits.train, share, config.run.seed))


def tests_of(fit: Fit, data_sets: Sequence[NamedSplits], config: CompareConfig) -> list[NamedSplits]:
    """The data sets that a fitted model is tested on: its own, and with all its texts also those with its labels."""
    if fit.share < 1 or not config.cross_domain:
        return [fit.data]
    return [data for data in data_sets if data is fit.data or why_no_test(fit.data, data) is None]


def results_of(
    fit: Fit, tests: Sequence[NamedSplits], config: CompareConfig, cache: ResultCache
) -> tuple[dict[str, Result], bool]:
    """The results by the name of the test's data set, and whether the model had to be fitted for them.

    Raises:
        UserError: the model cannot be fitted.
    """
    key = fit_key(fit, config)
    keys = {data.name: result_key(key, data) for data in tests}
    found = {name: cache.get(one) for name, one in keys.items()}
    missing = [data for data in tests if found[data.name] is None]
    if missing:
        fitted, seconds = _fit(fit, config, cache, key)
        for data in missing:
            predicted = fitted.predict(data.splits.test.texts).argmax(axis=1).tolist()
            result = Result(tuple(predicted), fit.train.labels, seconds, fitted.parameters, fitted.trained)
            cache.put(keys[data.name], result, f"{fit}, tested on {data.name}")
            found[data.name] = result
        cache.forget_unfinished(key)
    return {name: result for name, result in found.items() if result is not None}, bool(missing)


def accuracy_of(result: Result, tested_on: NamedSplits) -> float:
    """Share of the test texts that it labels right."""
    return sum(map(int.__eq__, predictions(result, tested_on), tested_on.splits.test.targets)) / len(result.predicted)


def predictions(result: Result, tested_on: NamedSplits) -> list[int]:
    """The predicted labels as indices among those of the test: the model's own labels may be in another order."""
    index = [tested_on.labels.index(label) for label in result.labels]
    return [index[label] for label in result.predicted]


def _fit(fit: Fit, config: CompareConfig, cache: ResultCache, key: Mapping[str, Any]) -> tuple[Fitted, float]:
    """The fitted model and the seconds it took, those before an interruption included."""
    folder = cache.unfinished(key)
    clock, start = folder / _CLOCK, time.monotonic()
    before = _seconds_before(clock)
    # A run that is not opened writes nothing of its own: it says where the checkpoints go, and whether to continue.
    place = Run(config, "bert_sentiment", "compare", folder, resumed=folder.exists())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return fit_model(fit, config, place), before + time.monotonic() - start
    except FIT_FAILURES:
        cache.forget_unfinished(key)
        raise
    except BaseException:
        # Ctrl-C, or a full disk: the checkpoints stay, and so does the time that they took.
        with suppress(OSError):
            atomic_write(clock, json.dumps(before + time.monotonic() - start))
        raise


def _seconds_before(clock: Path) -> float:
    try:
        return float(json.loads(clock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return 0.0


def _reason(error: BaseException, fit: Fit) -> str:
    """The error in one line; the flags that it names are those of `run`."""
    if not isinstance(error, UserError):
        return f"out of memory: use a smaller --trainer.batch_size or --dataset_settings {fit.data.name}.max_length"
    message = one_line(error).replace("--model.name ", f"--models {fit.model.kind}:")
    return message.replace("--data.", f"--dataset_settings {fit.data.name}.")


def _told(fit: Fit, results: Mapping[str, Result], is_new: bool) -> str:
    own = results[fit.data.name]
    how = f"{own.seconds:.1f} s" if is_new else "kept"
    return f"{fit}: accuracy {accuracy_of(own, fit.data):.3f} ({how})"
