"""`model-optimization prune`: cut a trained classifier, train what is left, and write it as a variant."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_optimization.commands.given import original_of, refuse_to_replace
from model_optimization.config.pruning import PruneConfig
from model_optimization.data import in_labels_of, load_splits
from model_optimization.ledger.flips import flip_study
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.pruning.figures import cut_curve_figure, importance_figure, layer_figure
from model_optimization.pruning.importance import calibration_texts, importance
from model_optimization.pruning.magnitude_pruning import prunable_weights, prune_magnitude, sparsity
from model_optimization.pruning.pruned_bert import PrunedBertConfig
from model_optimization.pruning.pruning_study import cut_curves
from model_optimization.pruning.recipes import CutNetwork, prune_structured
from model_optimization.pruning.sparse_storage import storage
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import fine_tune, tokenised
from model_optimization.types import FloatArray, Splits, Texts
from model_optimization.variants import VariantInfo, size_bytes, write_variant
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.metrics import Interval, share_interval
from roadmap_shared.report import figure_svg

_BATCH = 16


def run(config: PruneConfig) -> None:
    """Cut, train, write, and say what it cost.

    Raises:
        UserError: the model, the texts or the settings do not allow it.
    """
    refuse_to_replace(config.output)
    original, parent = original_of(config.model)
    encoder_layers(original.network)  # an architecture that cannot be cut is told before the texts are read
    splits = in_labels_of(original.labels, load_splits(config.data))
    for line in splits.rejected[:3]:
        print(f"left out: {line}")
    before = original.logits(splits.test.texts, _BATCH)
    print(f"{parent}: accuracy {_accuracy(before, splits.test)} on {len(splits.test):,} test texts", flush=True)
    cut = prune_structured(original, splits.train, splits.validation, config.pruning, seed=config.seed)
    print(f"left: {sizes_line(cut.classifier)}", flush=True)
    pruned = _trained(cut.classifier, splits.train, config)
    figures = _figures(original, cut, splits, config) if config.study else {}
    _write(config, pruned, _recipe(config, cut), parent, figures)
    after = pruned.logits(splits.test.texts, _BATCH)
    flips = flip_study(splits.test, pruned.labels, before, after)
    print(
        f"{config.output}: {size_bytes(config.output) / 1e6:.1f} MB, accuracy {_accuracy(after, splits.test)}; "
        f"{_percent(flips.share)} of the texts changed their label, {flips.harmful} for the worse and {flips.helpful} "
        "for the better"
    )
    if config.magnitude.sparsity:
        print(storage_line(pruned))


def sizes_line(classifier: TorchClassifier) -> str:
    """`6 layers, 12 heads and 768 neurons each`, or the sizes of each."""
    layers = encoder_layers(classifier.network)
    heads, neurons = [layer.n_heads for layer in layers], [layer.n_neurons for layer in layers]
    if len(set(heads)) == 1 and len(set(neurons)) == 1:
        return f"{len(layers)} layers, {heads[0]} heads and {neurons[0]} neurons each"
    shown = " ".join(f"{head}/{neuron}" for head, neuron in zip(heads, neurons, strict=True))
    return f"{len(layers)} layers with heads/neurons {shown}"


def storage_line(classifier: TorchClassifier) -> str:
    """What the zeros are worth."""
    weights = prunable_weights(classifier.network)
    sizes = storage(weights.values())
    formats = {"compressed": sizes.compressed, "sparse rows (CSR)": sizes.csr, "bitmap": sizes.bitmap}
    if sizes.two_of_four is not None:
        formats["2:4"] = sizes.two_of_four
    shown = ", ".join(f"{size / 1e6:.1f} {name}" for name, size in formats.items())
    return (
        f"{sparsity(weights):.1%} of the encoder's weights are 0, which makes neither the file smaller nor the model "
        f"faster: {sizes.dense / 1e6:.1f} MB dense; it would be {shown}"
    )


def _trained(classifier: TorchClassifier, train: Texts, config: PruneConfig) -> TorchClassifier:
    if not config.fine_tune:
        return classifier
    try:
        if config.magnitude.sparsity:
            return prune_magnitude(classifier, train, config.magnitude, config.trainer, seed=config.seed)[0]
        fine_tune(classifier.network, tokenised(classifier, train), config.trainer, seed=config.seed)
    except FloatingPointError as error:
        raise UserError(f"{error} (--trainer.learning_rate {config.trainer.learning_rate})") from error
    return classifier


def _figures(original: TorchClassifier, cut: CutNetwork, splits: Splits, config: PruneConfig) -> dict[str, str]:
    """Drawings by file name, of the network before anything was cut."""
    drawn = calibration_texts(splits.train, config.pruning.calibration_texts, config.seed)
    held = calibration_texts(splits.validation, config.pruning.calibration_texts, config.seed)
    # What was rated before is the whole network only where no layer had been cut by then.
    rated = cut.rated if cut.rated is not None and not cut.tried_layers else importance(original, drawn)
    figures = {
        "importance.svg": figure_svg(importance_figure(rated)),
        "cut_curves.svg": figure_svg(cut_curve_figure(cut_curves(original, rated, held, seed=config.seed))),
    }
    if cut.tried_layers:
        figures["layers.svg"] = figure_svg(layer_figure(cut.tried_layers))
    return figures


def _recipe(config: PruneConfig, cut: CutNetwork) -> dict[str, Any]:
    recipe = cut.recipe(config.pruning) | {"seed": config.seed}
    if config.magnitude.sparsity:
        recipe["magnitude"] = asdict(config.magnitude)
    return recipe | ({"trainer": asdict(config.trainer)} if config.fine_tune else {})


def _write(
    config: PruneConfig, pruned: TorchClassifier, recipe: Mapping[str, Any], parent: str, figures: Mapping[str, str]
) -> None:
    notes = []
    if pruned.network.config.model_type == PrunedBertConfig.model_type:
        notes.append("its layers have sizes of their own: only programs with this package can read it")
    if config.magnitude.sparsity:
        notes.append(f"{config.magnitude.sparsity:.0%} of the encoder's weights are 0; no faster and no smaller by it")
    info = VariantInfo(
        name=config.output.name,
        kind="torch",
        labels=pruned.labels,
        max_length=pruned.max_length,
        parent=parent,
        recipe=recipe,
        notes=tuple(notes),
    )

    def write(folder: Path) -> None:
        pruned.save(folder)
        for name, drawing in figures.items():
            atomic_write(folder / name, drawing)

    write_variant(config.output, info, write)


def _accuracy(logits: FloatArray, part: Texts) -> str:
    return _percent(share_interval(logits.argmax(1) == part.targets))


def _percent(share: Interval) -> str:
    return f"{share.estimate:.1%} ({share.low:.1%} to {share.high:.1%})"
