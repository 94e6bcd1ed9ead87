"""Made-up predictions for the tests of monitoring: any number of them, always the same."""

import random
from collections.abc import Sequence
from pathlib import Path

from model_optimization.config.monitoring import LogConfig
from model_optimization.monitoring.prediction_log import PredictionLog, PredictionRecord

PLACES = ("the harbour", "our street", "the old mill", "a small town", "the station", "her garden", "the market")
WORDS = ("slow", "warm", "bright", "dull", "loud", "gentle", "bitter", "funny", "plain", "brave", "cold", "sweet")
NOON = 1_700_000_000.0


def sentence(chance: random.Random) -> str:
    """An English sentence of 6 to 14 words."""
    words = chance.choices(WORDS, k=chance.randint(2, 8))
    return f"The film about {chance.choice(PLACES)} was {' and '.join(words)}."


def record(number: int = 0, *, time: float = NOON, **values: object) -> PredictionRecord:
    """One that is as ordinary as can be, but for what is given."""
    ordinary: dict[str, object] = {
        "version": "1",
        "text": "a good film",
        "label": "positive",
        "probabilities": (0.2, 0.8),
        "latency_ms": 10.0,
        "n_tokens": 5,
        "request_id": f"request-{number}",
    }
    return PredictionRecord(time=time, **(ordinary | values))  # type: ignore[arg-type]


def stream(count: int, *, end: float = NOON, seconds: float = 3600.0, seed: int = 0) -> list[PredictionRecord]:
    """`count` answers over so many seconds before `end`, without drift, one in fifty an error."""
    chance = random.Random(seed)
    records = []
    for number in range(count):
        label, sure = chance.choice(["negative", "positive", "positive"]), chance.uniform(0.6, 0.99)
        failed = number % 50 == 49
        records.append(
            record(
                number,
                time=end - seconds * (1 - number / count),
                text=sentence(chance),
                label="" if failed else label,
                probabilities=() if failed else (1 - sure, sure),
                latency_ms=chance.lognormvariate(2.5, 0.5),
                n_tokens=chance.randint(8, 20),
                error="deadline" if failed else None,
            )
        )
    return records


def write_log(path: Path, records: Sequence[PredictionRecord], **settings: object) -> Path:
    """A closed log of these records."""
    log = PredictionLog(LogConfig(path=path, days=36_500, **settings))  # type: ignore[arg-type]
    log.write(records)
    log.close()
    assert log.counts.failed == log.counts.dropped == 0
    return path
