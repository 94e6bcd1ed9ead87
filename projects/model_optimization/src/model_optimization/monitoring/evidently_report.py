"""Evidently's page on the same data, for those who use it elsewhere: labels, confidence and lengths."""

import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from model_optimization.monitoring.observed import Observed
from roadmap_shared.errors import UserError


def write_evidently(reference: Observed, current: Observed, path: Path) -> dict[str, Any]:
    """Write Evidently's HTML report, and return its figures.

    Raises:
        UserError: evidently is not installed.
    """
    if importlib.util.find_spec("evidently") is None:
        raise UserError("--evidently needs the package: pip install 'roadmap-model-optimization[evidently]'")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # it counts its users otherwise
    _mend_pandas()
    with warnings.catch_warnings():
        # It and what it stands on use functions that will go; its users cannot mend that.
        warnings.simplefilter("ignore")
        return _written(reference, current, path)


def _written(reference: Observed, current: Observed, path: Path) -> dict[str, Any]:
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    columns = [name for name in ("lengths", "tokens", "confidence") if name in reference.names & current.names]
    labels = ["labels"] if "labels" in reference.names & current.names else []
    definition = DataDefinition(numerical_columns=columns, categorical_columns=labels)
    frames = [
        Dataset.from_pandas(_frame(seen, [*columns, *labels]), data_definition=definition)
        for seen in (current, reference)
    ]
    preset = DataDriftPreset(num_method="psi", cat_method="chisquare")
    report = Report([preset]).run(current_data=frames[0], reference_data=frames[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    report.save_html(str(path))
    return report.dict()


def _frame(seen: Observed, names: list[str]) -> Any:
    import pandas

    return pandas.DataFrame({name: getattr(seen, name) for name in names})


def _mend_pandas() -> None:
    """Evidently 0.7 imports a function that pandas 3 no longer has. It takes a type's name and gives numpy's type."""
    import pandas.core.dtypes.common as common

    if not hasattr(common, "infer_dtype_from_object"):
        common.infer_dtype_from_object = lambda kind: np.dtype(kind).type  # type: ignore[attr-defined]
