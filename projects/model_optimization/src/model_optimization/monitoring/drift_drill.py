"""The drift drill: known drift is put into a stream of texts, and the detectors are scored.

The built-in texts are divided into a reference and a stream anew in each world. Over streams without drift, false
alarms are counted; over streams in which a drift begins after some requests, the requests until the alarm.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from model_optimization.config.drill import DrillConfig
from model_optimization.monitoring.accuracy_estimate import AccuracyEstimator
from model_optimization.monitoring.drift_monitor import DriftMonitor, WindowScore
from model_optimization.monitoring.drifts import DRIFTS, Drift, LabelledText, base_texts
from model_optimization.monitoring.drill_model import CrossFitted
from model_optimization.monitoring.embeddings import Encoder
from model_optimization.monitoring.observed import Array, Observed, observe
from roadmap_shared.errors import UserError
from roadmap_shared.metrics.statistics import Interval, wilson_interval
from roadmap_shared.progress import progress

TOGETHER = "all together"
"""The detectors as a whole, with one threshold."""


@dataclass(frozen=True, kw_only=True)
class DriftScore:
    """How one kind of drift was met."""

    name: str
    what: str
    strong: bool
    share: float
    n_streams: int
    found: Mapping[str, float]
    """Share of the streams in which each detector alone, and all together, raised the alarm in time."""

    median_delay: float | None
    """Requests from the beginning of the drift to the alarm of all together, over the streams where it was raised."""

    largest_delay: float | None
    accuracy: float
    """True accuracy of the watched model on the drifted texts."""

    average_confidence: float
    estimated_accuracy: float
    """By average thresholded confidence."""


@dataclass(frozen=True, kw_only=True)
class DrillResult:
    """The table of the drill."""

    false_alarms: Mapping[str, Interval]
    """Share of the streams without drift in which each detector alone, and all together, raised an alarm."""

    n_quiet: int
    requests_each: int
    accuracy: float
    """Of the watched model without drift."""

    drifts: tuple[DriftScore, ...]
    missed: tuple[str, ...]
    """Strong drifts that were not found within the requests in every stream."""

    budget: float

    @property
    def goal_met(self) -> bool:
        """Whether the false alarms keep to the budget and every strong drift was found in time."""
        return self.false_alarms[TOGETHER].estimate <= self.budget and not self.missed


@dataclass(frozen=True)
class _Pool:
    """Texts as they are observed, with the model's logits and what would be right."""

    seen: Observed
    logits: Array
    targets: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.logits.argmax(axis=1) == self.targets


def run_drill(config: DrillConfig, encode: Encoder, drifts: Sequence[Drift] = DRIFTS) -> DrillResult:
    """Score the detectors on built-in texts.

    Raises:
        UserError: the settings ask for more texts than there are.
    """
    texts = base_texts()
    needed = config.reference + max(config.monitor.horizon, 4 * config.monitor.window)
    if needed > len(texts):
        raise UserError(f"--reference and --monitor.horizon need {needed} texts, and {len(texts)} are built in")
    model = CrossFitted(texts, encode, config.seed)
    base = _pool(texts, model.embeddings, model.logits, model.labels)
    pools = {drift.name: _drifted(drift, texts, model, config) for drift in drifts}
    quiet: list[dict[str, int | None]] = []
    met: dict[str, list[dict[str, int | None]]] = {drift.name: [] for drift in drifts}
    for world in progress(config.worlds, "drift drill", "world"):
        chance = np.random.default_rng([config.seed, world])
        order = chance.permutation(len(texts))
        reference, stream = order[: config.reference], order[config.reference :]
        monitor = DriftMonitor.fit(base.seen.rows(reference), replace(config.monitor, seed=config.seed + world))
        for _ in range(config.quiet_streams):
            rows = chance.permutation(stream)[: config.monitor.horizon]
            quiet.append(first_alarms(monitor, base.seen.rows(rows), onset=0))
        for drift in drifts:
            for _ in range(config.drift_streams):
                met[drift.name].append(
                    _met(monitor, base.seen, stream, pools[drift.name].seen, drift.share, chance, config)
                )
    return _result(config, base, pools, quiet, met, drifts)


def first_alarms(monitor: DriftMonitor, stream: Observed, onset: int) -> dict[str, int | None]:
    """Requests from `onset` to the first alarm behind it of each detector alone and of all together; None: none."""
    first: dict[str, int | None] = dict.fromkeys([*monitor.statistics, TOGETHER])
    for score in monitor.watch(stream):
        if score.end <= onset:
            continue
        for name in _alarmed(monitor, score):
            if first[name] is None:
                first[name] = score.end - onset
    return first


def _alarmed(monitor: DriftMonitor, score: WindowScore) -> list[str]:
    alone = [name for name, value in score.scores.items() if value > monitor.own_thresholds[name]]
    return [*alone, TOGETHER] if score.drift else alone


def _met(
    monitor: DriftMonitor,
    base: Observed,
    stream: np.ndarray,
    drifted: Observed,
    share: float,
    chance: np.random.Generator,
    config: DrillConfig,
) -> dict[str, int | None]:
    """One stream in which the drift begins after some requests, in the middle of a window as likely as at its edge."""
    onset = int(chance.integers(0, 2 * monitor.window))
    before = chance.permutation(stream)
    quiet, rest = base.rows(before[:onset]), base.rows(before[onset : onset + config.within])
    replaced = chance.random(config.within) < share
    drawn = drifted.rows(chance.integers(0, len(drifted), config.within))
    return first_alarms(monitor, _joined(quiet, _mixed(rest, drawn, replaced)), onset)


def _mixed(ordinary: Observed, drifted: Observed, replaced: np.ndarray) -> Observed:
    """Row by row from the one or the other."""
    both = _joined(ordinary, drifted)
    return both.rows(np.arange(len(ordinary)) + len(ordinary) * replaced)


def _joined(first: Observed, second: Observed) -> Observed:
    return Observed(**{
        name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in first.names
    })  # fmt: skip


def _pool(texts: Sequence[LabelledText], embeddings: Array, logits: Array, labels: Sequence[str]) -> _Pool:
    places = {label: place for place, label in enumerate(labels)}
    seen = observe(
        [item.text for item in texts],
        labels=[labels[int(place)] for place in logits.argmax(axis=1)],
        confidence=softmax(logits, axis=1).max(axis=1),
        embeddings=embeddings,
    )
    return _Pool(seen, logits, np.array([places[item.label] for item in texts], dtype=np.int64))


def _drifted(drift: Drift, texts: Sequence[LabelledText], model: CrossFitted, config: DrillConfig) -> _Pool:
    chance = random.Random(f"{config.seed} {drift.name}")
    made = drift.texts(chance.sample(texts, min(len(texts), config.injected_texts)), chance)
    embeddings, logits = model.answer([item.text for item in made])
    return _pool(made, embeddings, logits, model.labels)


def _result(
    config: DrillConfig,
    base: _Pool,
    pools: Mapping[str, _Pool],
    quiet: Sequence[Mapping[str, int | None]],
    met: Mapping[str, Sequence[Mapping[str, int | None]]],
    drifts: Sequence[Drift],
) -> DrillResult:
    names = list(quiet[0])
    estimator = AccuracyEstimator.fit(base.logits, base.targets)
    scores = tuple(_score(drift, pools[drift.name], met[drift.name], estimator, base) for drift in drifts)
    return DrillResult(
        false_alarms={
            name: wilson_interval(sum(stream[name] is not None for stream in quiet), len(quiet)) for name in names
        },
        n_quiet=len(quiet),
        requests_each=config.monitor.horizon,
        accuracy=float(base.right.mean()),
        drifts=scores,
        missed=tuple(score.name for score in scores if score.strong and score.found[TOGETHER] < 1),
        budget=config.monitor.false_alarms,
    )


def _score(
    drift: Drift, pool: _Pool, streams: Sequence[Mapping[str, int | None]], estimator: AccuracyEstimator, base: _Pool
) -> DriftScore:
    delays = [delay for stream in streams if (delay := stream[TOGETHER]) is not None]
    # Where a share is affected, the rest is as before.
    n_rest = round(len(pool.logits) * (1 - drift.share) / drift.share)
    logits = np.concatenate([pool.logits, base.logits[:n_rest]])
    right = np.concatenate([pool.right, base.right[:n_rest]])
    return DriftScore(
        name=drift.name,
        what=drift.what,
        strong=drift.strong,
        share=drift.share,
        n_streams=len(streams),
        found={name: sum(stream[name] is not None for stream in streams) / len(streams) for name in streams[0]},
        median_delay=float(np.median(delays)) if delays else None,
        largest_delay=max(delays) if delays else None,
        accuracy=float(right.mean()),
        average_confidence=estimator.average_confidence(logits),
        estimated_accuracy=estimator.average_thresholded_confidence(logits).estimate,
    )
