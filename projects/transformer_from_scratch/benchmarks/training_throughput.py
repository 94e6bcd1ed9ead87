"""Training throughput against `nn.TransformerEncoder` of the same size, in the same run.

    python benchmarks/training_throughput.py

nanoGPT's CPU shape: 4 layers, 4 heads, 128 wide, context 64, batch 12, GELU, learned positions, tied head, AdamW. Both
models have the same matrices and do the same arithmetic; they take turns, and the median of the ratios is printed with
the CPU time of each. One thread.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.models import DecoderLM, count_parameters

VOCABULARY = 65


class TorchLM(nn.Module):
    """The same language model from PyTorch's own blocks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        layer = nn.TransformerEncoderLayer(
            config.d_model,
            config.n_heads,
            config.d_hidden,
            dropout=0.0,
            activation=F.relu,
            batch_first=True,
            norm_first=True,
            bias=config.bias,
        )
        norm = nn.LayerNorm(config.d_model, bias=config.bias)
        self.encoder = nn.TransformerEncoder(layer, config.n_layers, norm, enable_nested_tensor=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(config.context))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1])
        x = self.tokens(tokens) + self.positions(positions)
        hidden = self.encoder(x, mask=self.mask, is_causal=True)
        logits = F.linear(hidden, self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def cpu_seconds(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], steps: int) -> float:
    """CPU seconds of one training step, the mean over `steps`."""
    started = time.process_time()
    for _ in range(steps):
        model.loss(*batch).backward()  # type: ignore[operator]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return (time.process_time() - started) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="times that the two take turns")
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig(
        n_layers=4, n_heads=4, d_model=128, d_hidden=512, context=64, positions="learned", activation="relu"
    )
    models = {"nn.TransformerEncoder": TorchLM(config), "ours": DecoderLM(config, VOCABULARY)}
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True) for name, model in models.items()}
    tokens = torch.randint(VOCABULARY, (12, config.context + 1))
    batch = (tokens[:, :-1], tokens[:, 1:])
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(arguments.rounds + 1):
        for name, model in models.items():
            seconds = cpu_seconds(model, optimizers[name], batch, arguments.steps)
            if turn:  # the first turn warms up
                times[name].append(seconds)

    print(
        f"PyTorch {torch.__version__}, 1 thread, {arguments.rounds} rounds of {arguments.steps} steps of 12 × 64 tokens"
    )
    print(f"{'model':24}{'parameters':>12}{'CPU ms a step':>16}{'tokens / CPU s':>16}")
    for name, model in models.items():
        median = statistics.median(times[name])
        print(f"{name:24}{count_parameters(model):12,}{1e3 * median:16.1f}{batch[0].numel() / median:16,.0f}")
    ratios = [a / b for a, b in zip(times["nn.TransformerEncoder"], times["ours"], strict=True)]
    print(f"ratio, median of the rounds: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
