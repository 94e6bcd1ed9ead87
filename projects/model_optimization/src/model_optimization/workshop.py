"""Where variants are made, each once, from what it starts from."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from model_optimization.config.run import OptimizationConfig
from model_optimization.pruning.recipes import CutNetwork
from model_optimization.quantization.mixed_precision import MixedPrecision
from model_optimization.shelf import Shelf, fingerprint
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Splits
from model_optimization.variants import VariantInfo, digests, load_variant, write_variant

Recipe = Callable[["Workshop"], Path]
"""Makes a variant and returns its folder. What it starts from it asks the workshop for."""


@dataclass(eq=False)
class Workshop:
    """What the recipes need, and the variants that were made."""

    config: OptimizationConfig
    splits: Splits
    shelf: Shelf
    seed: int
    recipes: Mapping[str, "Recipe"]
    """How each variant is made, by its name."""

    given: TorchClassifier | None = None
    """The original, where it was trained before. None: it is trained here."""

    folders: dict[str, Path] = field(default_factory=dict)
    """By name, in the order in which they were made."""

    cut: CutNetwork | None = None
    """What pruning found out on the way."""

    mixed: MixedPrecision | None = None
    """What the choice of matrices for fp32 came to."""

    def folder(self, name: str) -> Path:
        """The folder of a variant, which is made first where it is not there yet."""
        if name not in self.folders:
            folder = self.recipes[name](self)
            self.folders[name] = folder
            print(f"{name}: made", flush=True)
        return self.folders[name]

    def network(self, name: str) -> TorchClassifier:
        """A torch variant, opened."""
        classifier = load_variant(self.folder(name))
        assert isinstance(classifier, TorchClassifier)
        return classifier

    def trained(
        self, name: str, parent: str | None, settings: Mapping[str, Any], train: Callable[[], TorchClassifier]
    ) -> Path:
        """A variant that takes training, from the cache where it was trained before.

        Args:
            name: of the variant.
            parent: what it starts from. None: from what the model section names.
            settings: of the training, for the record and for recognising it again.
            train: returns the trained classifier.
        """
        depends_on = {
            "settings": settings,
            "train": self.splits.train,
            "validation": self.splits.validation,
            "labels": list(self.splits.labels),
            "seed": self.seed,
            "start": self.config.model if parent is None else fingerprint_of(self.folder(parent)),
        }

        def make(folder: Path) -> None:
            classifier = train()
            info = VariantInfo(
                name=name,
                kind="torch",
                labels=classifier.labels,
                max_length=classifier.max_length,
                parent=parent,
                recipe={key: _as_json(value) for key, value in settings.items()},
            )
            write_variant(folder, info, classifier.save)

        return self.shelf.trained(name, depends_on, make)


def fingerprint_of(folder: Path) -> str:
    """sha256 of a variant's weights, by the record of its folder."""
    return fingerprint({"files": digests(folder)})


def _as_json(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
