"""A fine-tuned model on the disk as its difference from the base model: kilobytes where the whole is megabytes.

The folder holds `trained.safetensors`, with the trained weights and those of the others that the base checkpoint does
not fix, and `method.json`, with all else that loading needs.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bert_sentiment.config import MethodConfig, ModelConfig, PreprocessingConfig
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.methods import apply_method, method_of, set_weights, used_parameters
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write
from roadmap_shared.offline import minilm_folder

METHOD_FILE = "method.json"
WEIGHTS_FILE = "trained.safetensors"

# What a checkpoint lacks is drawn from this seed on loading. Nobody trains from it, so that such weights differ from
# the trained model's and are saved.
_SEED = 2**32 - 1


def save_method(model: SentimentModel, folder: Path) -> None:
    """Write what `load_method` needs to make the model again from its base model.

    After `full` that is everything: the folder is an ordinary one, as `SentimentModel.save` writes it.

    Raises:
        UserError: the base model cannot be had any more.
        ValueError: the network has no method, or is made from no checkpoint.
    """
    config = method_of(model.network)
    if config is None:
        raise ValueError("the network has no fine-tuning method: use SentimentModel.save")
    folder.mkdir(parents=True, exist_ok=True)
    if config.name == "full":
        model.save(folder)
        return
    settings: dict[str, Any] = {
        "base": _base_of(model),
        "labels": list(model.labels),
        "method": asdict(config),
        "preprocessing": asdict(model.preprocessing),
        "temperature": model.temperature,
    }
    weights = _difference(model.network, _from_base(settings).network)
    settings["frozen_sha256"] = _fingerprint(model.network, weights)
    atomic_write(folder / WEIGHTS_FILE, save(weights))
    # Last: a folder with this file is whole.
    atomic_write(folder / METHOD_FILE, json.dumps(settings, indent=2) + "\n")


def load_method(folder: Path, base: str | None = None, device: torch.device | str = "cpu") -> SentimentModel:
    """Read a folder that `save_method` or `SentimentModel.save` wrote. Its dropout is that of the base checkpoint.

    Args:
        folder: what was saved.
        base: where the base model lies (minilm, a folder or a hub id). None: where it lay on saving.
        device: where the network goes.

    Raises:
        UserError: a file is missing or damaged, or the base model is missing or another one.
    """
    if not (folder / METHOD_FILE).is_file():
        return SentimentModel.load(folder, device)
    settings = _read_settings(folder / METHOD_FILE)
    if base is not None:
        settings["base"] = base
    weights = _read_weights(folder / WEIGHTS_FILE)
    try:
        model = _from_base(settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder / METHOD_FILE, error) from error
    try:
        set_weights(model.network, weights)
    except ValueError as error:
        raise _damaged(folder / WEIGHTS_FILE, error) from error
    if _fingerprint(model.network, weights) != settings.get("frozen_sha256"):
        raise UserError(
            f"{folder}: was trained on another base model than {settings['base']} is: the frozen weights differ. Give "
            "the right one"
        )
    model.network.to(device)  # type: ignore[arg-type]
    return model


def _base_of(model: SentimentModel) -> str:
    """The base checkpoint as `--model.name` takes it, whatever folder this machine keeps the built-in one in."""
    name = model.network.name_or_path
    if not name:
        raise ValueError("the network is made from no checkpoint: its frozen weights could not be found again")
    with suppress(UserError):
        if name == str(minilm_folder()):
            return "minilm"
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _from_base(settings: dict[str, Any]) -> SentimentModel:
    """The base model with the method applied, untrained."""
    method = dict(settings["method"])
    if method.get("target_modules") is not None:
        method["target_modules"] = tuple(method["target_modules"])
    preprocessing = PreprocessingConfig(**settings["preprocessing"])
    with torch.random.fork_rng():
        model = build_classifier(ModelConfig(name=settings["base"]), preprocessing, settings["labels"], _SEED)
        model.temperature = float(settings["temperature"])
        return apply_method(model, MethodConfig(**method))


def _difference(network: nn.Module, untrained: nn.Module) -> dict[str, Tensor]:
    """The trained weights, and those of the frozen ones that the base checkpoint does not fix: a pooler that is not in
    it, for one, is drawn at random."""
    before = dict(untrained.named_parameters())
    return {
        name: weight.detach().cpu().contiguous()
        for name, weight in used_parameters(network)
        if weight.requires_grad or not _same(weight.detach().cpu(), before[name].detach())
    }


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _fingerprint(network: nn.Module, saved: dict[str, Tensor]) -> str:
    """sha256 over the bytes of all weights that are not saved."""
    digest = hashlib.sha256()
    for name, weight in used_parameters(network):
        if name not in saved:
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(settings, dict):
        raise _damaged(path, "it holds no settings")
    return settings


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: object) -> UserError:
    return UserError(f"{path}: is damaged ({one_line(error)}): copy the model folder again, or train anew")
