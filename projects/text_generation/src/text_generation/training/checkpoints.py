"""What a checkpoint of a training holds: weights and what each optimiser remembers of each weight.

No random state is stored: what a step draws depends on the seed and the step's number alone.
"""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roadmap_shared.checkpoints import newest_checkpoint, save_checkpoint
from roadmap_shared.errors import UserError
from roadmap_shared.runs import Run


def save_training_state(run: Run, step: int, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Write a checkpoint of `step` into the run folder; the last two are kept."""
    tensors = {
        "model": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        "optimizer": optimizer_tensors(model, optimizers),
    }
    save_checkpoint(run.checkpoints, step, tensors, {}, keep=2)


def newest_training_state(run: Run, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Put the newest whole checkpoint of a resumed run into model and optimisers; returns the steps done (0 if none).

    Figures logged after that step are dropped from the run's history: they will come again.

    Raises:
        UserError: the checkpoint is of a model of another shape.
    """
    if not run.resumed:
        return 0
    checkpoint = newest_checkpoint(run.checkpoints)
    if checkpoint is None:
        run.rewind(0)
        print(f"{run.folder}: no whole checkpoint to resume from; starting at step 0", file=sys.stderr)
        return 0
    weights, expected = checkpoint.tensors.get("model", {}), model.state_dict()
    wrong = [name for name in {*weights, *expected} if shape_of(weights, name) != shape_of(expected, name)]
    if wrong:
        raise UserError(f"{checkpoint.path}: holds another model than the configured one ('{min(wrong)}' does not fit)")
    model.load_state_dict(weights)
    parameters = dict(model.named_parameters())
    owner = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for key, tensor in checkpoint.tensors["optimizer"].items():
        name, _, state_name = key.rpartition(":")
        parameter = parameters[name]
        # AdamW counts its steps on the CPU unless it is fused; then, as everything else, beside the weights.
        owner[id(parameter)].state[parameter][state_name] = tensor.to(parameter.device)
    run.rewind(checkpoint.step)
    return checkpoint.step


def shape_of(tensors: dict[str, Tensor], name: str) -> torch.Size | None:
    """None where there is no such tensor."""
    return tensors[name].shape if name in tensors else None


def optimizer_tensors(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What the optimisers remember, by weight name and state name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}:{state_name}": tensor.detach().cpu()
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for state_name, tensor in state.items()
    }
