"""What an encoder computes on the way to its answer, which a student can be made to imitate.

Shapes: B texts of a batch, T tokens, H width of the states, A attention heads, D width of a head.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model_optimization.pruning.encoder_layers import encoder_layers
from roadmap_shared.errors import UserError

LayerMap = tuple[tuple[int, int], ...]
"""Pairs of a student's layer and the teacher's that it imitates, both from 0."""

Projections = Mapping[str, nn.Module]
"""Maps of the student's width to the teacher's: `embeddings`, and `states` for all layers. Empty: equal widths."""

PROJECTIONS = "projections"
"""The name by which the student's network holds its projections while it is trained."""


@dataclass(frozen=True, kw_only=True)
class Inside:
    """One forward pass, looked into."""

    logits: Tensor
    """(B, K)."""

    states: tuple[Tensor, ...]
    """(B, T, H): the embeddings, then each layer's output."""

    projected: Mapping[tuple[int, str], Tensor]
    """`query`, `key` and `value` of the layers that were asked for: (B, A, T, D)."""

    def attention_scores(self, layer: int) -> Tensor:
        """Queries times keys over √D, before the softmax: (B, A, T, T)."""
        return scaled_products(self.projected[layer, "query"], self.projected[layer, "key"])

    def value_relations(self, layer: int) -> Tensor:
        """Values times values over √D: (B, A, T, T)."""
        return scaled_products(self.projected[layer, "value"], self.projected[layer, "value"])


def look_inside(network: PreTrainedModel, inputs: Mapping[str, Tensor], layers: Sequence[int]) -> Inside:
    """A forward pass that keeps the states of all layers, and queries, keys and values of some.

    These are read off the linear maps that make them, because fused attention never holds a matrix of scores.
    """
    projected: dict[tuple[int, str], Tensor] = {}
    there = encoder_layers(network)
    with ExitStack() as hooks:
        for number in set(layers):
            layer = there[number]
            for name, linear in (("query", layer.query), ("key", layer.key), ("value", layer.value)):
                keep = _keeper(projected, (number, name), layer.head_size)
                hooks.callback(linear.register_forward_hook(keep).remove)
        output = network(**inputs, output_hidden_states=True)
    return Inside(logits=output.logits, states=output.hidden_states, projected=projected)


def split_heads(states: Tensor, width: int) -> Tensor:
    """(B, T, A·D) -> (B, A, T, D), for heads of width D."""
    return states.unflatten(-1, (-1, width)).transpose(1, 2)


def layer_map(student: PreTrainedModel, teacher: PreTrainedModel, chosen: Sequence[int] = ()) -> LayerMap:
    """Which of the teacher's layers each of the student's imitates; evenly spaced where none are chosen.

    Jiao et al. 2020, "TinyBERT", §3.1, with the uniform g(m) = m · N / M that its experiments use.

    Raises:
        UserError: the chosen ones are not one for each layer, or outside the teacher.
    """
    n_student, n_teacher = len(encoder_layers(student)), len(encoder_layers(teacher))
    if not chosen:
        return tuple((layer, max(0, (layer + 1) * n_teacher // n_student - 1)) for layer in range(n_student))
    named = " ".join(map(str, chosen))
    if len(chosen) != n_student:
        raise UserError(
            f"--distillation.teacher_layers {named}: names {len(chosen)} layers, but the student has {n_student}"
        )
    if max(chosen) >= n_teacher:
        raise UserError(
            f"--distillation.teacher_layers {named}: the teacher has {n_teacher} layers, 0 … {n_teacher - 1}"
        )
    return tuple(enumerate(chosen))


@contextmanager
def learned_projections(
    student: PreTrainedModel, teacher: PreTrainedModel, *, wanted: bool, seed: int
) -> Iterator[None]:
    """Within it, a student of another width than the teacher's holds linear maps to that width, to be trained with it.

    One for the embeddings and one for all layers, as in TinyBERT (Jiao et al. 2020, §3.1). They are no part of
    the finished student.
    """
    widths = [network.config.hidden_size for network in (student, teacher)]
    if not wanted or widths[0] == widths[1]:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        maps = nn.ModuleDict({name: nn.Linear(*widths, bias=False) for name in ("embeddings", "states")})
    student.add_module(PROJECTIONS, maps)
    try:
        yield
    finally:
        delattr(student, PROJECTIONS)


def scaled_products(left: Tensor, right: Tensor) -> Tensor:
    """left · rightᵀ / √D of each head: two (B, A, T, D) -> (B, A, T, T)."""
    return left @ right.transpose(-1, -2) / left.size(-1) ** 0.5


def _keeper(
    projected: dict[tuple[int, str], Tensor], place: tuple[int, str], head_size: int
) -> Callable[[nn.Module, Any, Tensor], None]:
    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        projected[place] = split_heads(output, head_size)

    return keep
