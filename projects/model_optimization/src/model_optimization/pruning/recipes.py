"""Cutting by a config: what `prune` and the main job do, in the order in which it costs least."""

from dataclasses import asdict, dataclass

from model_optimization.config.pruning import PruningConfig
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.pruning.importance import Importance, calibration_texts, importance
from model_optimization.pruning.layer_pruning import LayerRemoval, choose_layers, cut_layers
from model_optimization.pruning.structured_pruning import choose_units, cut_units, refuse_ragged
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts


@dataclass(frozen=True, kw_only=True)
class CutNetwork:
    """What is left, not yet trained, and why."""

    classifier: TorchClassifier
    kept_layers: tuple[int, ...]
    tried_layers: tuple[LayerRemoval, ...]
    rated: Importance | None
    """Of the network after its layers were cut; None where all its units stay."""

    def recipe(self, config: PruningConfig) -> dict[str, object]:
        """For a variant's record: the settings and the sizes that came of them."""
        layers = encoder_layers(self.classifier.network)
        return asdict(config) | {
            "method": "structured pruning",
            "kept_layers": list(self.kept_layers),
            "heads_per_layer": [layer.n_heads for layer in layers],
            "ffn_per_layer": [layer.n_neurons for layer in layers],
        }


def prune_structured(
    classifier: TorchClassifier, train: Texts, validation: Texts, config: PruningConfig, *, seed: int
) -> CutNetwork:
    """Cut layers, then heads and neurons of those that stay; the given classifier stays as it is.

    Args:
        classifier: trained.
        train: texts from which those are drawn on which importance is measured.
        validation: texts from which those are drawn on which layers are chosen.
        config: what is cut.
        seed: of the draws.

    Raises:
        UserError: more is to be cut than there is, or the architecture does not allow it.
    """
    if config.heads_keep < 1 or (config.ffn_keep < 1 and config.budget == "per_layer"):
        refuse_ragged(classifier.network.config.model_type)  # before the work, not after it
    kept, tried, rated = tuple(range(len(encoder_layers(classifier.network)))), list[LayerRemoval](), None
    if config.layers_keep is not None:
        kept, tried = choose_layers(
            classifier, calibration_texts(validation, config.calibration_texts, seed), config.layers_keep
        )
        classifier = cut_layers(classifier, kept)
    if config.heads_keep < 1 or config.ffn_keep < 1:
        rated = importance(classifier, calibration_texts(train, config.calibration_texts, seed))
        classifier = cut_units(classifier, choose_units(rated, config))
    return CutNetwork(classifier=classifier, kept_layers=kept, tried_layers=tuple(tried), rated=rated)
