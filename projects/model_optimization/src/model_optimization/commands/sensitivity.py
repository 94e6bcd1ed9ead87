"""`model-optimization sensitivity`: what quantisation or pruning does to each part of a trained classifier."""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from model_optimization.config.export import ExportConfig
from model_optimization.config.sensitivity import SensitivityCommandConfig, SensitivityConfig
from model_optimization.data import load_splits
from model_optimization.deployment.onnx_conversion import export_classifier, export_variant
from model_optimization.model import given_classifier
from model_optimization.quantization.layer_changes import layer_trials, smallest_weights_zero
from model_optimization.quantization.mixed_precision import choose_exclusions
from model_optimization.quantization.sensitivity import LayerSensitivity, QuantizedGraphs, sensitivity_map
from model_optimization.quantization.sensitivity_figure import sensitivity_figure
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts
from model_optimization.variants import VARIANT_FILE, load_variant, read_info
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.report.figures import figure_png
from roadmap_shared.run_folders import cannot_write

TITLES = {
    "alone": "One thing in int8, the rest in fp32",
    "all_but": "One thing in fp32, the rest in int8",
    "pruned": "One thing pruned",
}
MIXED = "int8-mixed"


def run(config: SensitivityCommandConfig) -> None:
    """Map the sensitivity, write table and figure, and choose what stays in fp32 if asked.

    Raises:
        UserError: no model is named, it is none that can be changed, there are no texts, or the folder cannot be
            written.
    """
    if config.model.path is None:
        raise UserError("which model? Name its folder with --model.path FOLDER")
    try:
        config.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(config.output, error) from error
    part = load_splits(config.data).validation
    with tempfile.TemporaryDirectory(prefix="sensitivity-") as work:
        rows = _rows(config, Path(work), part.texts[: config.sensitivity.texts])
        print("\n".join(table_lines(rows)))
        _write(config, rows)
        if config.choose:
            _choose(config, Path(work), part, rows)


def table_lines(rows: Sequence[LayerSensitivity]) -> list[str]:
    """The rows from the lowest SQNR to the highest, with their flips and the interval of their share."""
    width = max(len("what"), *(len(row.label) for row in rows))
    lines = [f"{'what':{width}}  SQNR (dB)  flips of {rows[0].n} (95 % interval of the share)"]
    for row in sorted(rows, key=lambda row: row.sqnr_db):
        share = row.flip_share
        sqnr = "none" if math.isinf(row.sqnr_db) else f"{row.sqnr_db:.1f}"
        lines.append(f"{row.label:{width}}  {sqnr:>9}  {row.flips} ({share.low:.1%} … {share.high:.1%})")
    return lines


def _rows(config: SensitivityCommandConfig, work: Path, texts: Sequence[str]) -> list[LayerSensitivity]:
    settings = config.sensitivity
    if settings.change == "pruned":
        return _pruned(_torch_network(config), settings, texts)
    with QuantizedGraphs(_graph(config, work), texts, batch_size=settings.batch_size) as graphs:
        trials = graphs.trials_alone if settings.change == "alone" else graphs.trials_all_but
        return sensitivity_map(graphs.reference, trials(settings.by))


def _pruned(classifier: TorchClassifier, settings: SensitivityConfig, texts: Sequence[str]) -> list[LayerSensitivity]:
    trials = layer_trials(
        classifier, smallest_weights_zero(settings.sparsity), texts, by=settings.by, batch_size=settings.batch_size
    )
    return sensitivity_map(classifier.logits(texts, settings.batch_size), trials)


def _torch_network(config: SensitivityCommandConfig) -> TorchClassifier:
    path = config.model.path
    assert path is not None
    classifier = load_variant(path) if (path / VARIANT_FILE).exists() else given_classifier(config.model)
    if not isinstance(classifier, TorchClassifier):
        raise UserError(f"--model.path {path}: --sensitivity.change pruned needs the torch variant of it")
    return classifier


def _graph(config: SensitivityCommandConfig, work: Path) -> Path:
    """Folder of the fp32 ONNX variant: the model itself, or its export, made once."""
    path, exported = config.model.path, work / "fp32"
    assert path is not None
    if exported.exists():
        return exported
    if (path / VARIANT_FILE).exists():
        if read_info(path).kind == "onnx":
            return path
        return export_variant(path, exported, ExportConfig(), name="fp32")
    classifier = given_classifier(config.model)
    assert classifier is not None
    return export_classifier(classifier, exported, ExportConfig(), name="fp32")


def _write(config: SensitivityCommandConfig, rows: Sequence[LayerSensitivity]) -> None:
    settings = config.sensitivity
    records = [
        {
            "layer": row.layer,
            "part": row.part,
            "sqnr_db": None if math.isinf(row.sqnr_db) else row.sqnr_db,
            "flips": row.flips,
            "n": row.n,
            "flip_share_low": row.flip_share.low,
            "flip_share_high": row.flip_share.high,
        }
        for row in rows
    ]
    document = {"change": settings.change, "by": settings.by, "model": str(config.model.path), "rows": records}
    figure = sensitivity_figure(rows, title=TITLES[settings.change])
    try:
        atomic_write(config.output / "sensitivity.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        atomic_write(config.output / "sensitivity.png", figure_png(figure))
    except OSError as error:
        raise cannot_write(config.output, error) from error
    print(f"\nwritten: {config.output / 'sensitivity.json'}, {config.output / 'sensitivity.png'}")


def _choose(config: SensitivityCommandConfig, work: Path, part: Texts, rows: Sequence[LayerSensitivity]) -> None:
    by_matrix = config.sensitivity.change == "alone" and config.sensitivity.by == "matrix"
    mixed = choose_exclusions(
        _graph(config, work),
        config.output / MIXED,
        part,
        config.mixed,
        name=MIXED,
        ranking=rows if by_matrix else None,
    )
    print(f"\n{mixed.summary}")
    for name in mixed.excluded:
        print(f"  in fp32: {name}")
    print(f"written: {mixed.variant}")
