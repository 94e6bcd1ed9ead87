"""Optimisers and the learning-rate schedule of next-token training."""

from collections.abc import Sequence

import torch
from torch import nn

from text_generation.config.training import TrainerConfig


def build_optimizers(model: nn.Module, config: TrainerConfig) -> list[torch.optim.Optimizer]:
    """AdamW alone, or PyTorch's Muon for the matrices inside the blocks and AdamW for the rest.

    Muon replaces a matrix's momentum by the nearest orthogonal one (Jordan et al. 2024). Embeddings map one-hot
    vectors, for which "every direction alike" is the wrong geometry, and stay with AdamW. Weight decay applies to
    matrices, not to gains and biases.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = [p for name, p in named if config.optimizer == "muon" and p.ndim == 2 and ".h." in name]
    chosen = {id(p) for p in blocks}
    rest = [p for _, p in named if id(p) not in chosen]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=(0.9, 0.95), fused=True
    )
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if blocks:
        muon = torch.optim.Muon(
            blocks, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    return optimizers


def learning_rate_factor(step: int, config: TrainerConfig) -> float:
    """Share of the peak rate at `step`, counted from 0: rises in a line, stays, falls in a line (Hu et al. 2024,
    "MiniCPM", §4: warm-up, stable, decay)."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    n_decay = max(1, round(config.decay_share * config.steps))
    return min(warmup, 1.0, (config.steps - step) / n_decay)


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """The same rate for every group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
