"""Optimisers and the learning-rate schedule of next-token training."""

from collections.abc import Sequence

import torch
from torch import nn

from text_generation.config.training import TrainerConfig


def build_optimizers(model: nn.Module, config: TrainerConfig) -> list[torch.optim.Optimizer]:
    """AdamW alone, or PyTorch's Muon for the matrices inside the blocks and AdamW for the rest.

    Muon replaces a matrix's momentum by the nearest orthogonal one (Jordan et al. 2024). Embeddings map one-hot
    vectors, for which "every direction alike" is the wrong geometry, and stay with AdamW. Weight decay applies to the
    matrices of the blocks alone: rare tokens would lose what tells them apart, the fifty names of the stories first.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = [p for name, p in named if config.optimizer == "muon" and is_matrix(name, p)]
    chosen = {id(p) for p in blocks}
    share = config.embedding_share if blocks else 1.0
    decayed, plain = (
        [p for name, p in named if id(p) not in chosen and is_matrix(name, p) == kind] for kind in (True, False)
    )
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay, "share": share},
        {"params": plain, "weight_decay": 0.0, "share": share},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=(0.9, 0.99), fused=True
    )
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if blocks:
        muon = torch.optim.Muon(
            blocks, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    return optimizers


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether it is a weight matrix inside a block, and no embedding, gain or bias."""
    return parameter.ndim == 2 and ".h." in name


def learning_rate_factor(step: int, config: TrainerConfig) -> float:
    """Share of the peak rate at `step`, counted from 0: rises in a line, stays, falls in a line (Hu et al. 2024,
    "MiniCPM", §4: warm-up, stable, decay)."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    n_decay = max(1, round(config.decay_share * config.steps))
    return min(warmup, 1.0, (config.steps - step) / n_decay)


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """The rate, or a group's share of it."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
