"""Optimisers and learning-rate schedules: AdamW for vectors and embeddings, Muon for hidden matrices.

Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") replaces the momentum of each
hidden weight matrix by the nearest orthogonal matrix, so that every direction of the update has the same size. It is
written by hand here; AdamW (Loshchilov & Hutter 2019) is PyTorch's own.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from transformer_from_scratch.config import TrainerConfig

Coefficients = tuple[float, float, float]

# One quintic, five times (Jordan et al. 2024): steep at zero, so that small singular values grow in few steps, at the
# price of ending within [0.7, 1.2] instead of at 1 exactly, which training does not notice.
NEWTON_SCHULZ: tuple[Coefficients, ...] = ((3.4445, -4.7750, 2.0315),) * 5

# The best polynomial for each step given those before it (Amsel et al. 2025, "The Polar Express", §4). Three of them
# leave values between 0.2 and 1.9, rougher than the above, and were measured to train as well for two thirds of the
# products.
POLAR_EXPRESS: tuple[Coefficients, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)


def orthogonalize(matrices: Tensor, polynomials: Sequence[Coefficients] = NEWTON_SCHULZ) -> Tensor:
    """U Vᵀ of the singular value decomposition U S Vᵀ of each (..., M, N) matrix, approximately.

    Each odd polynomial p(X) = aX + b(XXᵀ)X + c(XXᵀ)²X moves every singular value towards 1 and needs matrix products
    only (Jordan et al. 2024; Bernstein & Newhouse 2024).

    Args:
        matrices: (..., M, N).
        polynomials: (a, b, c) of each step.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # the Gram matrix of the shorter side is the cheaper one
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # now no singular value is above 1
    for a, b, c in polynomials:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; for weight matrices of hidden layers only.

    Args:
        params: matrices (M, N) that map N inputs to M outputs.
        lr: how far a step moves along each singular direction of the momentum; 0.02 is usual.
        momentum: Nesterov momentum.
        weight_decay: share of each weight removed per step and unit of learning rate.
        polynomials: of `orthogonalize`.

    Raises:
        ValueError: a parameter is not a matrix.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        polynomials: Sequence[Coefficients] = NEWTON_SCHULZ,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.polynomials = polynomials
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.dim() != 2:
                    raise ValueError(f"Muon takes matrices, not a parameter of shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for shape, parameters in by_shape(group["params"]).items():
                updates = torch.stack([self.momentum_update(p, group["momentum"]) for p in parameters])
                # Matrices of one shape go through the iteration together: fewer, larger products.
                directions = orthogonalize(updates, self.polynomials)  # (n, M, N)
                scale = math.sqrt(max(1.0, shape[0] / shape[1]))  # tall matrices: same change of output size
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(direction, alpha=-group["lr"] * scale)

    def momentum_update(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The Nesterov look-ahead of the running mean of gradients."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)


def by_shape(parameters: Iterable[nn.Parameter]) -> dict[torch.Size, list[nn.Parameter]]:
    """Parameters that have a gradient, grouped by shape."""
    groups: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(parameter.shape, []).append(parameter)
    return groups


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon should train it: a matrix between hidden layers, neither a table of embeddings nor an output head.

    Those maps have one-hot inputs or outputs, for which "every direction alike" is the wrong geometry (Jordan et al.
    2024).
    """
    outside = ("embedding", "position", "table", "head", "router")
    return parameter.dim() == 2 and not any(word in part for part in name.split(".") for word in outside)


def build_optimizers(model: nn.Module, config: TrainerConfig) -> list[torch.optim.Optimizer]:
    """AdamW alone, or Muon for the hidden matrices and AdamW for the rest.

    Weight decay applies to matrices, not to gains and biases. Each group remembers its peak learning rate as
    `peak_lr`, which `set_learning_rate` scales.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hidden = [p for name, p in named if config.optimizer == "muon" and is_hidden_matrix(name, p)]
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in chosen]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )
    ]
    if hidden:
        optimizers.append(
            Muon(
                hidden,
                lr=config.muon_learning_rate,
                weight_decay=config.weight_decay,
                polynomials=POLAR_EXPRESS if config.muon_iteration == "polar_express" else NEWTON_SCHULZ,
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def learning_rate_factor(step: int, config: TrainerConfig) -> float:
    """Share of the peak learning rate in step 0 … steps-1.

    A linear warm-up, then `cosine` to `final_lr_share` (Loshchilov & Hutter 2017), or `wsd`: stable, then a linear
    decay over the last `decay_share` of all steps (Hu et al. 2024, "MiniCPM", §4), or `constant`.
    """
    warmup = (step + 1) / config.warmup_steps if step < config.warmup_steps else 1.0
    # The smaller of the two, so that the curve has no jump where a short run's warm-up reaches into its decay.
    return min(warmup, decay_factor(step, config))


def decay_factor(step: int, config: TrainerConfig) -> float:
    """The share of the peak learning rate that the schedule leaves in a step, the warm-up not counted."""
    final = config.final_lr_share
    match config.schedule:
        case "cosine":
            progress = max(0, step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
        case "wsd":
            decay_steps = max(1.0, config.decay_share * config.steps)
            remaining = min(1.0, (config.steps - step) / decay_steps)
            return final + (1 - final) * remaining
        case "constant":
            return 1.0


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's learning rate to `factor` × its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
