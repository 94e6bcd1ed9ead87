"""Batched generation against transformers' `pipeline`, same model, same prompts, in the same run.

    python benchmarks/batched_generation.py [MODEL_FOLDER]

The peers are the pipeline asked one prompt after another, as a script that loops over prompts does, and the pipeline
with the same batch size as ours. All take turns; the greedy texts are asserted to be the same, and the median of
the ratios is printed. Without a folder, a GPT-2 of 6 layers, 256 wide, with random weights answers: the time does not
depend on the weights.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline

from roadmap_shared.offline import python_reference
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.hf_loading import quiet_transformers
from text_generation.config.decoding import DecodingConfig


def write_model(folder: Path) -> None:
    """A random GPT-2 with a byte-level BPE of 4,096 tokens, trained on the Python reference."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [python_reference().text], vocab_size=4096, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>")
    size: dict[str, Any] = {
        "n_positions": 512,
        "n_embd": 256,
        "n_layer": 6,
        "n_head": 8,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    torch.manual_seed(1)
    # Twenty times the usual spread: the best token is then ahead of the second by more than rounding.
    network = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), initializer_range=0.4, **size))
    with quiet_transformers():
        network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prompts(n: int) -> list[str]:
    """Prompts of 20 to 200 characters from the Python reference."""
    text = python_reference().text
    return [
        text[start : start + 20 + 180 * index // n].strip() for index, start in enumerate(range(1000, 3000 * n, 3000))
    ]


def ways(folder: Path, decoding: DecodingConfig, batch_size: int) -> dict[str, Callable[[list[str]], list[str]]]:
    """The same model asked in three ways; each returns the new text."""
    pipe = pipeline("text-generation", model=str(folder), tokenizer=str(folder), device="cpu", dtype=torch.float32)
    tokenizer = pipe.tokenizer
    assert tokenizer is not None
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    backend = HuggingFaceBackend.load(str(folder), device="cpu", batch_size=batch_size)
    settings = {"do_sample": False, "max_new_tokens": decoding.max_new_tokens, "return_full_text": False}
    # The pipeline's own default would let an answer end early; ours must do the same work.
    settings |= {"eos_token_id": -1, "pad_token_id": tokenizer.pad_token_id}
    backend.end_tokens = frozenset()

    def one_by_one(texts: list[str]) -> list[str]:
        return [pipe(text, **settings)[0]["generated_text"] for text in texts]

    def in_batches(texts: list[str]) -> list[str]:
        return [answer[0]["generated_text"] for answer in pipe(texts, batch_size=batch_size, **settings)]

    return {
        "pipeline, one by one": one_by_one,
        f"pipeline, batches of {batch_size}": in_batches,
        f"ours, batches of {batch_size}": lambda texts: [answer.text for answer in backend.generate(texts, decoding)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="a model folder")
    parser.add_argument("--rounds", type=int, default=5, help="times that all take turns")
    parser.add_argument("--prompts", type=int, default=16, help="prompts to answer, in one batch")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each answer")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    texts = prompts(arguments.prompts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or Path(temporary)
        if arguments.model is None:
            write_model(folder)
        decoding = DecodingConfig(strategy="greedy", max_new_tokens=arguments.tokens)
        asked = ways(folder, decoding, arguments.prompts)
        expected = asked["pipeline, one by one"](texts)
        seconds: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(arguments.rounds):
            for name, ask in asked.items():
                start = time.perf_counter()
                answers = ask(texts)
                seconds[name].append(time.perf_counter() - start)
                assert answers == expected, f"{name} gave other texts"
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads")
    print(f"{len(texts)} prompts × {arguments.tokens} tokens, {arguments.rounds} rounds, identical greedy texts")
    for name, times in seconds.items():
        ratios = [one / own for one, own in zip(seconds["pipeline, one by one"], times, strict=True)]
        print(
            f"{name:26}{len(texts) * arguments.tokens / statistics.median(times):8.0f} tokens/s"
            f"{statistics.median(ratios):8.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
