"""`model-optimization export`: a trained classifier as a folder that is served without torch."""

import tempfile
from pathlib import Path

from model_optimization.commands.given import refuse_to_replace
from model_optimization.config.export import ExportCommandConfig
from model_optimization.deployment.onnx_conversion import export_classifier, export_variant
from model_optimization.model import given_classifier
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import ONNX_FILE, VARIANT_FILE, read_info
from roadmap_shared.errors import UserError


def run(config: ExportCommandConfig) -> None:
    """Export, check against torch, and say what was written.

    Raises:
        UserError: no model is named, it cannot be exported, or the output folder holds something else.
    """
    path = config.model.path
    if path is None:
        raise UserError("which model? Name its folder with --model.path FOLDER")
    refuse_to_replace(config.output)
    if (path / VARIANT_FILE).exists():
        export_variant(path, config.output, config.export, name=config.output.name)
    else:
        classifier = given_classifier(config.model)
        assert classifier is not None
        export_classifier(classifier, config.output, config.export, name=config.output.name)
    info = read_info(config.output)
    size = (config.output / ONNX_FILE).stat().st_size / 1e6
    print(
        f"{config.output}: {size:.1f} MB, {len(info.labels)} labels, texts of up to {info.max_length} tokens; its "
        f"logits differ from torch's by {info.recipe['max_difference']:.1e} at most"
    )
    if config.gguf is not None:
        from model_optimization.deployment.gguf_export import export_gguf

        print(f"{config.gguf}: {export_gguf(TorchClassifier.load(path, info.max_length), config.gguf)}")
    if config.compare:
        _compare(config, path)


def _compare(config: ExportCommandConfig, path: Path) -> None:
    from model_optimization.deployment.onnx_comparison import compare_graphs, table

    classifier = TorchClassifier.load(path, read_info(config.output).max_length)
    with tempfile.TemporaryDirectory(prefix="graphs-") as work:
        rows, failures = compare_graphs(classifier, Path(work), config.export, config.comparison)
    if rows:
        print("\nCPU time of torch over that of the graph, above 1 is faster:")
        print(table(rows))
    for line in failures:
        print(f"not made: {line}")
