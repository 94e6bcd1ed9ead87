"""The metrics as modules of Hugging Face's `evaluate`, for code that expects those: `load("macro_f1")`.

Each module only hands its inputs on: the functions of `roadmap_shared.metrics` are the definition. `evaluate.load`
takes a module's source from the hub; `load` needs no network. The modules work with `add`, `add_batch`, `compute`,
`evaluate.combine`, and wherever `evaluate` takes a loaded module as `metric`.

Importing this takes seconds and the extra `evaluate`: import it where it is used, never on the way to `--help`.
"""

from typing import Any

from roadmap_shared.errors import did_you_mean
from roadmap_shared.metrics.evaluate_modules.base import OfflineMetric
from roadmap_shared.metrics.evaluate_modules.modules import MODULES

__all__ = ["MODULES", "OfflineMetric", "load"]


def load(name: str, **settings: Any) -> OfflineMetric:
    """A metric by its name, a key of `MODULES`.

        >>> load("expected_calibration_error", n_bins=15).compute(probabilities=[[0.8, 0.2]], references=[0])
        {'expected_calibration_error': 0.19999999999999996}

    Args:
        settings: of this metric, as its class describes them, and those of `OfflineMetric`. They are given here and
            not to `compute`, because `evaluate.combine` would hand them to every module.

    Raises:
        ValueError: there is no such metric.
    """
    if name not in MODULES:
        hint = did_you_mean(name, MODULES) or f"There are: {', '.join(MODULES)}"
        raise ValueError(f"there is no metric '{name}'. {hint}")
    return MODULES[name](**settings)
