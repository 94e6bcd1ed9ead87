"""What a checkpoint of this project holds, and how to go on from it or generate with it.

- `model.safetensors`: the weights by name.
- `optimizer.safetensors`: what each optimiser remembers of each weight, as `<weight name>:<state name>`.
- `model.json`, `tokenizer.json`: what is needed to build model and tokenizer again.

No random state is stored: each step's draws depend on the seed and the step's number (`corpus.random_seed`).
"""

import dataclasses
import sys
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from roadmap_shared.checkpoints import Checkpoint, load_checkpoint, newest_checkpoint, save_checkpoint
from roadmap_shared.errors import UserError
from roadmap_shared.runs import Run, latest_run
from transformer_from_scratch.config import ModelConfig, TrainerConfig
from transformer_from_scratch.models import DecoderLM, EncoderDecoder, MaskedLM
from transformer_from_scratch.tokenizers import Tokenizer, tokenizer_from_json

PROJECT = "transformer_from_scratch"
Model = TypeVar("Model", bound=nn.Module)
ARCHITECTURES = {"DecoderLM": DecoderLM, "MaskedLM": MaskedLM, "EncoderDecoder": EncoderDecoder}


def save_training_state(
    run: Run,
    step: int,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    tokenizer: Tokenizer,
    config: TrainerConfig,
) -> None:
    """Write a checkpoint of `step` into the run folder; rank 0 writes, but every process must call it (FSDP
    gathers)."""
    tensors = {
        "model": {name: whole(tensor) for name, tensor in model.state_dict().items()},
        "optimizer": optimizer_tensors(model, optimizers),
    }
    if run.is_main:
        documents = {
            "model": {
                "architecture": architecture_name(model),
                "config": dataclasses.asdict(model.config),  # type: ignore[arg-type]
                "vocab_size": model.vocab_size,
            },
            "tokenizer": tokenizer.to_json(),
        }
        save_checkpoint(run.checkpoints, step, tensors, documents, keep=config.keep_checkpoints)


def newest_training_state(run: Run, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    """Put the newest whole checkpoint of a resumed run into model and optimisers; returns the steps done (0 if none).

    Figures logged after that step are dropped from the run's history: they will come again.
    """
    checkpoint = newest_checkpoint(run.checkpoints) if run.resumed else None
    if checkpoint is None:
        if run.resumed:
            run.rewind(0)
            if run.is_main:
                print(f"{run.folder}: no whole checkpoint to resume from; starting at step 0", file=sys.stderr)
        return 0
    load_weights(model, checkpoint)
    names = {name: parameter for name, parameter in model.named_parameters()}
    owner = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for key, tensor in checkpoint.tensors["optimizer"].items():
        name, _, state_name = key.rpartition(":")
        parameter = names[name]
        like_weight = tensor.shape == parameter.shape
        value = spread(tensor, parameter) if like_weight else tensor.to(parameter.device)
        owner[id(parameter)].state[parameter][state_name] = value
    run.rewind(checkpoint.step)
    return checkpoint.step


def optimizer_tensors(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimisers remember, by weight name and state name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}:{state_name}": whole(tensor)
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for state_name, tensor in state.items()
    }


def architecture_name(model: nn.Module) -> str:
    """The model's class; FSDP gives a sharded model a class of its own."""
    return type(model).__name__.removeprefix("FSDP")


def unsharded(model: Model) -> Model:
    """The model with whole weights, on the same device: itself unless FSDP has cut it up. Every process must call
    it."""
    if type(model).__name__ in ARCHITECTURES:
        return model
    weights = {name: whole(tensor) for name, tensor in model.state_dict().items()}
    fresh = ARCHITECTURES[architecture_name(model)](model.config, model.vocab_size)  # type: ignore[arg-type]
    fresh.load_state_dict(weights)
    return cast(Model, fresh.to(next(model.parameters()).device))


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor on the CPU, gathered from all processes if it is sharded."""
    full_tensor = getattr(tensor, "full_tensor", None)
    return (tensor if full_tensor is None else full_tensor()).detach().cpu()


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` on the device of `like`, sharded the same way."""
    mesh = getattr(like, "device_mesh", None)
    if mesh is None:
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), mesh, like.placements)  # type: ignore[attr-defined]


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into the model.

    Raises:
        UserError: the checkpoint is of a model of another shape.
    """
    weights = checkpoint.tensors.get("model", {})
    expected = model.state_dict()
    wrong = sorted(set(weights) ^ set(expected)) or sorted(
        name for name in expected if expected[name].shape != weights[name].shape
    )
    if wrong:
        raise UserError(f"{checkpoint.path}: holds another model than the configured one ('{wrong[0]}' does not fit)")
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(spread(weights[name], parameter))


def load_trained(place: str, root: Path = Path("runs")) -> tuple[nn.Module, Tokenizer, Path]:
    """Model (in evaluation mode, on the CPU), tokenizer and folder of a checkpoint.

    Args:
        place: "latest" (run), a run folder (its newest whole checkpoint), or a checkpoint folder.
        root: where `latest` looks.

    Raises:
        UserError: nothing there, or it is damaged or of another program.
    """
    checkpoint = find_checkpoint(place, root)
    try:
        about = checkpoint.documents["model"]
        architecture = ARCHITECTURES[about["architecture"]]
        model = architecture(ModelConfig(**about["config"]), about["vocab_size"])
        tokenizer = tokenizer_from_json(checkpoint.documents["tokenizer"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{checkpoint.path}: a whole checkpoint, but not of this project") from None
    load_weights(model, checkpoint)
    return model.eval(), tokenizer, checkpoint.path


def find_checkpoint(place: str, root: Path) -> Checkpoint:
    """The checkpoint that `place` names; see `load_trained`."""
    folder = latest_run(PROJECT, root) if place == "latest" else Path(place)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a run folder, a checkpoint folder, or latest")
    if (folder / "manifest.json").exists() or folder.name.startswith("step-"):
        return load_checkpoint(folder)
    checkpoint = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise UserError(f"{folder}: no whole checkpoint in this run; train first, for example with make project-1")
    return checkpoint
