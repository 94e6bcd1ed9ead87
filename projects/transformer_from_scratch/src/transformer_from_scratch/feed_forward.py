"""The position-wise feed-forward part of a block, dense or as a mixture of experts."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.config import ActivationName


class FeedForward(nn.Module):
    """Widen, bend, narrow: each token by itself (Vaswani et al. 2017, §3.3).

    `relu` as in the paper, `gelu` as in BERT, `gelu_tanh` as in GPT-2 (Hendrycks & Gimpel 2016), `relu2` squared ReLU
    (So et al. 2021, "Primer"), `swiglu` gates one widened copy by another (Shazeer 2020, eq. 6).

    Args:
        d_model: width C of input and output.
        d_hidden: width F between.
    """

    def __init__(
        self, d_model: int, d_hidden: int, activation: ActivationName, *, bias: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(d_model, d_hidden, bias=bias)
        self.gate = nn.Linear(d_model, d_hidden, bias=bias) if activation == "swiglu" else None
        self.down = nn.Linear(d_hidden, d_model, bias=bias)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activate(x)  # (..., F)
        if self.training and self.dropout:
            hidden = F.dropout(hidden, self.dropout)
        return self.down(hidden)  # (..., C)

    def activate(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., F)."""
        if self.gate is not None:
            return F.silu(self.gate(x)) * self.up(x)
        match self.activation:
            case "relu":
                return F.relu(self.up(x))
            case "relu2":
                return F.relu(self.up(x)).square()
            case "gelu":
                return F.gelu(self.up(x))
            case _:
                return F.gelu(self.up(x), approximate="tanh")


def load_balancing_loss(router_probabilities: Tensor, chosen: Tensor) -> Tensor:
    """E · Σₑ fₑ · pₑ: 1 when every expert gets the same share, E when one gets everything (Fedus et al. 2021, eq. 4-6).

    Args:
        router_probabilities: (N, E) softmax of the router for each of N tokens.
        chosen: (N, k) experts each token was sent to.

    fₑ, the share of the N·k assignments that went to expert e, has no gradient; pₑ, the mean probability of expert e,
    carries it.
    """
    n_experts = router_probabilities.shape[-1]
    share = F.one_hot(chosen, n_experts).float().mean(dim=(0, 1))  # (E,)
    mean_probability = router_probabilities.mean(dim=0)  # (E,)
    return n_experts * (share * mean_probability).sum()


class MixtureOfExperts(nn.Module):
    """Each token is sent to its `n_chosen` best of several feed-forward experts (Shazeer et al. 2017; Mixtral 2024,
    §2.1).

    The chosen experts' outputs are summed with their router probabilities, renormalised over the chosen. A single
    choice keeps its probability (Fedus et al. 2021, eq. 2): renormalised to 1, it would leave the router without a
    gradient. After each forward pass `balancing_loss` holds the scalar to add to the training loss.
    """

    def __init__(
        self,
        d_model: int,
        d_hidden: int,
        activation: ActivationName,
        *,
        n_experts: int,
        n_chosen: int,
        bias: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= n_chosen <= n_experts:
            raise ValueError(f"cannot choose {n_chosen} of {n_experts} experts")
        self.n_chosen = n_chosen
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts = nn.ModuleList(
            FeedForward(d_model, d_hidden, activation, bias=bias, dropout=dropout) for _ in range(n_experts)
        )
        self.balancing_loss = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)  # (N, C)
        probabilities = self.router(tokens).softmax(dim=-1)  # (N, E)
        weight, chosen = probabilities.topk(self.n_chosen, dim=-1)  # 2 × (N, k)
        if self.n_chosen > 1:
            weight = weight / weight.sum(dim=-1, keepdim=True)
        output = torch.zeros_like(tokens)
        for index, expert in enumerate(self.experts):
            # Which tokens chose this expert, and as their how-manieth choice.
            token, choice = (chosen == index).nonzero(as_tuple=True)
            contribution = weight[token, choice, None] * expert(tokens[token])
            output = output.index_add(0, token, contribution.to(output.dtype))  # autocast: bfloat16 into float32
        self.balancing_loss = load_balancing_loss(probabilities, chosen)
        return output.view_as(x)

    def __getstate__(self) -> dict[str, Any]:
        """For a copy: the loss without its graph, which cannot be copied."""
        return self.__dict__ | {"balancing_loss": self.balancing_loss.detach()}
