"""The figures of the reports. Each function draws one; none computes what it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_from_scratch.config import PositionName
from transformer_from_scratch.positional_encoding import alibi_slopes, rotary_frequencies, sinusoidal_table


def loss_curve(history: Sequence[Mapping[str, Any]], baselines: Mapping[str, float], unit: str) -> Figure:
    """Training loss a step (and its running mean), validation loss where measured, learning rate below.

    Args:
        history: lines of metrics.jsonl.
        baselines: name and loss of what the model is compared with.
        unit: of the loss.
    """
    figure = Figure(figsize=(7.6, 4.4))
    loss_axis, rate_axis = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    steps = np.array([line["step"] for line in history])
    losses = np.array([line["loss"] for line in history])
    (raw,) = loss_axis.plot(steps, losses, alpha=0.25, linewidth=0.8)
    loss_axis.plot(steps, running_mean(losses, 0.95), color=raw.get_color(), label="training (running mean)")
    measured = [(line["step"], line["val_loss"]) for line in history if "val_loss" in line]
    if measured:
        loss_axis.plot(
            *zip(*measured, strict=True), marker="o", markersize=4, color="C1", label="validation, whole part"
        )
    for style, (name, value) in zip(("--", ":", "-."), baselines.items(), strict=False):
        loss_axis.axhline(value, color="C7", linestyle=style, linewidth=1, label=f"{name}, {value:.3f}")
    lowest = min([losses.min(), *(value for _, value in measured), *baselines.values()])
    loss_axis.set_ylim(lowest - 0.05, np.percentile(losses, 97) + 0.1)
    loss_axis.set_ylabel(f"loss ({unit})")
    loss_axis.legend(loc="upper right")
    rate_axis.plot(steps, [line["lr"] for line in history], color="C2")
    rate_axis.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    return figure


def running_mean(values: np.ndarray, decay: float) -> np.ndarray:
    """Exponential running mean, corrected for its start at zero (Kingma & Ba 2015, §3)."""
    means, mean = [], 0.0
    for index, value in enumerate(values, start=1):
        mean = decay * mean + (1 - decay) * value
        means.append(mean / (1 - decay**index))
    return np.array(means)


def attention_maps(maps: Sequence[Tensor], tokens: Sequence[str]) -> Figure:
    """Every head of every layer: one small map each, queries down, keys across.

    Args:
        maps: (H, T, T) weights of each layer.
        tokens: the T tokens.
    """
    n_layers, n_heads, n_tokens = len(maps), maps[0].shape[0], len(tokens)
    figure = Figure(figsize=(2.3 * n_heads + 0.4, 2.3 * n_layers + 0.5))
    axes = figure.subplots(n_layers, n_heads, squeeze=False)
    labels = [token.replace(" ", "␣").replace("\n", "↵") for token in tokens]
    for layer, row in enumerate(axes):
        for head, axis in enumerate(row):
            axis.imshow(maps[layer][head].float().cpu().numpy(), vmin=0, interpolation="nearest")
            axis.grid(False)
            axis.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
            # Labels at the outer maps only: the inner ones have the same, and text is slow to draw.
            axis.set_xticks(*((range(n_tokens), labels) if layer == n_layers - 1 else ([],)))
            axis.set_yticks(*((range(n_tokens), labels) if head == 0 else ([],)))
            for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
                label.set(fontsize=5, family="monospace", parse_math=False)
            axis.tick_params(length=0)
    figure.supxlabel("attends to (key)", fontsize=9)
    figure.supylabel("token (query)", fontsize=9)
    return figure


def positional_encodings(used: PositionName, n_positions: int = 64, width: int = 64, n_heads: int = 4) -> Figure:
    """The four encodings side by side, in what each one adds: vectors, a trained table, angles, score penalties."""
    figure = Figure(figsize=(9.6, 2.9))
    sinusoidal, learned, rotary, alibi = figure.subplots(1, 4)
    sinusoidal.imshow(
        sinusoidal_table(n_positions, width).numpy(), cmap="roadmap-diverging", vmin=-1, vmax=1, aspect="auto"
    )
    sinusoidal.set(xlabel="feature", ylabel="position")
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(n_positions, width, generator=generator).numpy()
    learned.imshow(table, cmap="roadmap-diverging", vmin=-3, vmax=3, aspect="auto")
    learned.set(xlabel="feature (before training)")
    # How much a rotated query and key of equal content still agree, by distance.
    distances = torch.arange(n_positions)
    angles = torch.outer(distances.double(), rotary_frequencies(width))
    for pair in (0, 4, 8, 16):
        rotary.plot(distances, angles[:, pair].cos(), linewidth=1, label=f"pair {pair}")
    rotary.set(xlabel="distance", ylabel="cos(angle)")
    rotary.legend(fontsize=6, loc="lower right")
    for head, slope in enumerate(alibi_slopes(n_heads).tolist()):
        alibi.plot(distances, -slope * distances, linewidth=1, label=f"head {head + 1}")
    alibi.set(xlabel="distance", ylabel="added to the score")
    alibi.legend(fontsize=6)
    titles = {"sinusoidal": sinusoidal, "learned": learned, "rotary": rotary, "alibi": alibi}
    for name, axis in titles.items():
        axis.set_title(f"{name} (used here)" if name == used else name, fontsize=9)
    for axis in (sinusoidal, learned):
        axis.grid(False)
    return figure


def cross_attention(maps: Sequence[Tensor], source: Sequence[str], target: Sequence[str]) -> Figure:
    """Where each layer looks in the source while it writes: one map a layer, the mean of its heads.

    Args:
        maps: (H, T, S) weights of each layer.
        source: the S source tokens.
        target: the T target tokens that are written.
    """
    width = min(9.6, max(3.2, 0.16 * len(source)) * len(maps) + 0.6)
    figure = Figure(figsize=(width, min(7.2, max(2.4, 0.16 * len(target) + 1.2))))
    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    for layer, (axis, weights) in enumerate(zip(axes, maps, strict=True), start=1):
        axis.imshow(weights.mean(dim=0).float().cpu().numpy(), vmin=0, interpolation="nearest", aspect="auto")
        axis.grid(False)
        axis.set_title(f"layer {layer}", fontsize=8)
        axis.set_xticks(range(len(source)), source, fontsize=6, family="monospace", rotation=90)
        axis.set_yticks(range(len(target)), target, fontsize=6, family="monospace")
        axis.tick_params(length=0)
    figure.supxlabel("source token", fontsize=9)
    figure.supylabel("written token", fontsize=9)
    return figure
