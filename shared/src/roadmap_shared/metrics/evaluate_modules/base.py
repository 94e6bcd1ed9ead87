"""What the modules have in common: where the items are kept, and what is refused."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

import evaluate
from datasets import Features

from roadmap_shared.metrics.evaluate_modules.inputs import ALL_NAMES, Inputs


class OfflineMetric(evaluate.Metric):
    """A metric that keeps its items in memory and refuses inputs that `evaluate` would bend until they fit.

    By default `evaluate` keeps the items in a file in the user's cache, so that two processes that score at the same
    time wait for each other; it makes a folder there even where the items stay in memory.

    Args:
        cache_dir: keep the items in a file in this folder instead, which `compute` deletes. For items that memory
            does not hold, and for several processes, which share the folder.
        num_process, process_id: how many processes share out the items, and which of them this is. `compute` scores
            the items of all on process 0, and returns None on the others.
        experiment_id: tells evaluations apart that use `cache_dir` at the same time.
    """

    INPUTS: ClassVar[Inputs]
    CITATION: ClassVar[str] = ""

    def __init__(
        self,
        *,
        cache_dir: str | None = None,
        num_process: int = 1,
        process_id: int = 0,
        experiment_id: str | None = None,
    ) -> None:
        if num_process > 1 and cache_dir is None:
            raise ValueError(f"{num_process} processes exchange their items in files: give cache_dir, a shared folder")
        super().__init__(
            keep_in_memory=cache_dir is None,
            cache_dir=cache_dir,
            num_process=num_process,
            process_id=process_id,
            experiment_id=experiment_id,
        )

    def score(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The figures of all items; takes each input as a list, under its name."""
        raise NotImplementedError

    def add(self, *, prediction: Any = None, reference: Any = None, **inputs: Any) -> None:
        """Add one item."""
        # `evaluate.combine` gives `predictions` where a caller gives `prediction`.
        item = {"predictions": prediction, "references": reference, **inputs}
        self._check({name: None if value is None else [value] for name, value in item.items()})
        super().add(prediction=prediction, reference=reference, **inputs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **inputs: Any) -> None:
        """Add several items: a list or an array for each input."""
        self._check({"predictions": predictions, "references": references, **inputs})
        super().add_batch(predictions=predictions, references=references, **inputs)

    def compute(self, *, predictions: Any = None, references: Any = None, **inputs: Any) -> dict[str, Any] | None:
        """Score the items that are given here, and all that were added since the last call."""
        if unknown := sorted(set(inputs) - ALL_NAMES):
            raise ValueError(f"{self.name} takes no {', '.join(unknown)}, only {self._names()}; settings go to `load`")
        # `evaluate.combine` gives every module the inputs of all.
        own = {name: values for name, values in inputs.items() if name in self.INPUTS}
        return super().compute(predictions=predictions, references=references, **own)

    def _info(self) -> evaluate.MetricInfo:
        meanings = "".join(f"    {name}: {each.meaning}\n" for name, each in self.INPUTS.items())
        return evaluate.MetricInfo(
            description=inspect.getdoc(type(self)) or "",
            citation=self.CITATION,
            inputs_description=f"\n\nOf each item:\n{meanings}",  # `evaluate` appends it to the methods' docstrings
            features=Features({name: each.feature for name, each in self.INPUTS.items()}),
        )

    def _compute(self, **inputs: Any) -> dict[str, Any]:
        return self.score(**inputs)

    def _build_data_dir(self) -> str:
        return "" if self.keep_in_memory else super()._build_data_dir()

    def _finalize(self) -> None:
        if self.writer is None:
            raise ValueError(f"{self.name} has no item to score: give it {self._names()}")
        super()._finalize()

    def _names(self) -> str:
        return " and ".join(self.INPUTS)

    def _check(self, inputs: Mapping[str, Any]) -> None:
        # Without it, 0.9 would be stored as class 0 and None as no text.
        for name, each in self.INPUTS.items():
            if inputs.get(name) is None:
                raise ValueError(f"{self.name} needs {self._names()}: {name} is missing")
            each.check(name, inputs[name])
