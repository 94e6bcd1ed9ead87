"""What several commands do with the model that they are given and the folder that they write."""

from pathlib import Path

from model_optimization.config.model import GivenModelConfig
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import VARIANT_FILE, load_variant, read_info
from roadmap_shared.errors import UserError


def original_of(config: GivenModelConfig) -> tuple[TorchClassifier, str]:
    """The classifier of `--model.path`, a variant's folder or one of transformers, and its name.

    Raises:
        UserError: no folder is named, it holds no torch classifier, or one whose weights are not plain numbers.
    """
    folder = config.path
    if folder is None:
        raise UserError("which model? Name the folder of a trained classifier with --model.path FOLDER")
    if not (folder / VARIANT_FILE).exists():
        if not (folder / "config.json").is_file():
            raise UserError(f"--model.path {folder}: is no model folder (no config.json in it)")
        return TorchClassifier.load(folder, config.max_length), folder.resolve().name
    info = read_info(folder)
    if info.kind != "torch" or info.on_load is not None:
        parent = f" ({info.parent})" if info.parent else ""
        raise UserError(f"--model.path {folder}: is quantised or exported: name what it was made from{parent}")
    classifier = load_variant(folder)
    assert isinstance(classifier, TorchClassifier)
    return classifier, info.name


def refuse_to_replace(folder: Path) -> None:
    """Stop before a folder is replaced that is no variant.

    Raises:
        UserError: the folder holds other files, or is a file.
    """
    if folder.exists() and not (folder / VARIANT_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output {folder}: is there and holds no variant: name another folder")
