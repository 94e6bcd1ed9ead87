"""What the modules take of each item: the type it is stored as, and what it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import List, Value


@dataclass(frozen=True)
class Input:
    """One input of a module. `dtype`: int64, float64 or string; `nested`: a list of them an item."""

    dtype: str
    meaning: str
    nested: bool = False

    @property
    def feature(self) -> Value | List:
        """The column's type for `datasets`."""
        return List(Value(self.dtype)) if self.nested else Value(self.dtype)

    def check(self, name: str, values: Any) -> None:
        """Raise ValueError unless `values`, a list or an array of the items, holds what it should."""
        if not all(_holds(self.dtype, each) for each in (values if self.nested else [values])):
            wanted = {"int64": "whole numbers", "float64": "numbers", "string": "texts"}[self.dtype]
            raise ValueError(f"{name} must be a list of {'lists of ' * self.nested}{wanted}")


def _holds(dtype: str, values: Any) -> bool:
    if dtype == "string":
        return not isinstance(values, str) and all(isinstance(text, str) for text in values)
    array = np.asarray(values)
    return array.ndim == 1 and (array.size == 0 or array.dtype.kind in {"int64": "iub", "float64": "iubf"}[dtype])


_TRUE_CLASS = Input("int64", "index of the class that the item has, from 0")

DECISIONS = {
    "predictions": Input("int64", "index of the class that was chosen, from 0"),
    "references": _TRUE_CLASS,
}
PROBABILITIES = {
    "probabilities": Input("float64", "probability of each class, n_classes numbers that sum to 1", nested=True),
    "references": _TRUE_CLASS,
}
TOKENS = {
    "predictions": Input("int64", "ids of the predicted tokens of a text", nested=True),
    "references": Input("int64", "ids of its true tokens, as many", nested=True),
}
TEXTS = {
    "predictions": Input("string", "the text that was generated"),
    "references": Input("string", "the right text"),
}
NATS = {"total_nats": Input("float64", "negative log-likelihood of a text in nats, summed over its predictions")}
N_TOKENS = {"n_tokens": Input("int64", "number of tokens that were predicted")}
N_CHARACTERS = {"n_characters": Input("int64", "number of Unicode characters that were predicted")}
N_BYTES = {"n_bytes": Input("int64", "UTF-8 length of what was predicted")}
DURATIONS = {"durations": Input("float64", "duration of a call, in any unit")}

ALL_NAMES = frozenset(
    name
    for inputs in (DECISIONS, PROBABILITIES, TOKENS, TEXTS, NATS, N_TOKENS, N_CHARACTERS, N_BYTES, DURATIONS)
    for name in inputs
)
"""Every name that a module gives to an input."""

Inputs = Mapping[str, Input]
