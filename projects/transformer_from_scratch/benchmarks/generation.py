"""Greedy generation with a key/value cache against Hugging Face, in one process, with the same weights and threads.

    python benchmarks/generation.py [--threads 1 2] [--rounds 9] [--quick]

A GPT-2 with random weights (6 layers, 6 heads, 384 wide, 65 symbols, context 256: 10.8 M parameters) is written by
transformers and read by `load_gpt2`. Four ways make the same 200 tokens from one prompt, taking turns; each ratio is
taken within one round, so that a machine that slows down for a while slows both sides. The tokens are asserted to be
identical. Prompt lookup checks guesses that it copies from the text so far, so its gain depends on how much the text
repeats itself: the last column says how many passes through the model the tokens took.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from transformer_from_scratch.generate import generate
from transformer_from_scratch.gpt2 import load_gpt2
from transformer_from_scratch.models import DecoderLM, count_parameters
from transformer_from_scratch.prompt_lookup import generate_by_lookup

N_GUESSED = 10


def build(n_layers: int, width: int, context: int) -> tuple[GPT2LMHeadModel, DecoderLM]:
    """The same random weights in both libraries."""
    torch.manual_seed(0)
    settings = GPT2Config(
        vocab_size=65,
        n_positions=context,
        n_embd=width,
        n_layer=n_layers,
        n_head=6,
        initializer_range=0.1,  # at the usual 0.02 a random model repeats one token for ever
        bos_token_id=None,
        eos_token_id=None,
    )
    theirs = GPT2LMHeadModel(settings).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours, _ = load_gpt2(Path(folder))
    return theirs, ours


def ways(theirs: Any, ours: DecoderLM, prompt: list[int], n_tokens: int) -> dict[str, Callable[[], list[int]]]:
    """The four ways to make the tokens."""
    ids = torch.tensor([prompt])

    @torch.inference_mode()
    def hugging_face(**settings: int) -> list[int]:
        output = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_tokens,
            do_sample=False,
            use_cache=True,
            **settings,
        )
        return output[0, len(prompt) :].tolist()

    return {
        "Hugging Face": hugging_face,
        "ours": lambda: generate(ours, [prompt], max_new_tokens=n_tokens)[0],
        "Hugging Face, prompt lookup": lambda: hugging_face(prompt_lookup_num_tokens=N_GUESSED),
        "ours, prompt lookup": lambda: generate_by_lookup(ours, prompt, max_new_tokens=n_tokens, n_guessed=N_GUESSED),
    }


def count_passes(model: torch.nn.Module, make: Callable[[], list[int]]) -> int:
    """How often `make` runs the model."""
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = model.register_forward_hook(count)
    make()
    hook.remove()
    return passes


def measure(n_threads: int, rounds: int, n_tokens: int, n_layers: int, width: int) -> None:
    """Print one table."""
    torch.set_num_threads(n_threads)
    prompt = [(7 * i) % 65 for i in range(16)]
    theirs, ours = build(n_layers, width, len(prompt) + n_tokens + 40)
    makers = ways(theirs, ours, prompt, n_tokens)
    expected = makers["Hugging Face"]()
    passes = {}
    for name, make in makers.items():
        assert make() == expected, f"{name} made other tokens"
        passes[name] = count_passes(theirs if name.startswith("Hugging") else ours.tokens, make)

    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            start = time.perf_counter()
            make()
            seconds[name].append(time.perf_counter() - start)

    millions = count_parameters(ours) / 1e6
    print(f"\n{n_tokens} tokens, {millions:.2f} M parameters, {n_threads} thread(s), {rounds} rounds, identical tokens")
    print(f"{'':29}{'ms/token':>9}{'tokens/s':>10}{'ratio':>8}{'(range)':>16}{'passes':>8}")
    for name, times in seconds.items():
        typical = statistics.median(times)
        ratios = [reference / own for reference, own in zip(seconds["Hugging Face"], times, strict=True)]
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        print(
            f"{name:29}{1000 * typical / n_tokens:9.2f}{n_tokens / typical:10.0f}"
            f"{statistics.median(ratios):8.2f}{spread:>16}{passes[name]:8}"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tiny model and few tokens: does it run at all?")
    options = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{os.cpu_count()} CPUs, {platform.machine()}"
    )
    for n_threads in options.threads:
        if options.quick:
            measure(n_threads, rounds=2, n_tokens=20, n_layers=2, width=24)
        else:
            measure(n_threads, options.rounds, n_tokens=200, n_layers=6, width=384)


if __name__ == "__main__":
    main(sys.argv[1:])
