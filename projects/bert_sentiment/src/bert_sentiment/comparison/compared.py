"""All that the report of a comparison shows, and what it calls the models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_sentiment.comparison.data_sets import NamedSplits
from bert_sentiment.comparison.measuring import Measured
from bert_sentiment.comparison.scores import Champion, Entry
from bert_sentiment.config import CompareConfig
from roadmap_shared.runs import Run


@dataclass(frozen=True)
class Compared:
    """All that the report shows."""

    config: CompareConfig
    run: Run
    data_sets: Sequence[NamedSplits]
    measured: Measured
    boards: Mapping[str, Sequence[Entry]]
    best: Champion

    @property
    def models(self) -> list[str]:
        return [str(spec) for spec in self.config.model_specs]

    @property
    def names(self) -> dict[str, str]:
        """Of each model that was measured anywhere, what figures and tables call it."""
        measured = {place.model for place in self.measured.results}
        return {model: name for model, name in short_names(self.models).items() if model in measured}


def short_names(models: Sequence[str]) -> dict[str, str]:
    """What tables and figures call each model: the last part of a path or hub id, the whole where that is not
    enough to tell two apart."""
    short = {model: _short(model) for model in models}
    return {model: name if list(short.values()).count(name) == 1 else model for model, name in short.items()}


def _short(model: str) -> str:
    kind, colon, source = model.partition(":")
    return f"{kind}{colon}{Path(source).name}" if source else kind
