"""The benchmark scripts run; what they measure is for the README, not for a test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["the cat sat on the mat"], vocab_size=300, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>", model_max_length=512
    )
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=512, bos_token_id=0, eos_token_id=0,
        initializer_range=0.4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "tiny"
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def output_of(script: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_batched_generation_asks_for_the_same_texts_in_three_ways(model: str) -> None:
    _, sizes, *rows = output_of("batched_generation.py", model, "--rounds", "1", "--prompts", "2", "--tokens", "3")
    assert sizes == "2 prompts × 3 tokens, 1 rounds, identical greedy texts"
    assert [row[:26].strip() for row in rows] == [
        "pipeline, one by one", "pipeline, batches of 2", "ours, batches of 2",
    ]  # fmt: skip
    assert all(re.fullmatch(r".{26} +\d+ tokens/s +\d+\.\d\d × \(\d+\.\d\d to \d+\.\d\d\)", row) for row in rows)


def test_every_stream_of_the_server_load_is_complete(model: str) -> None:
    table = output_of("server_load.py", model, "--clients", "2", "--tokens", "2", "--slots", "2", "--rounds", "1")
    rows = [line.split() for line in table if line.startswith("batches of up to")]
    assert [(row[4], row[5], row[6]) for row in rows] == [("2", "0", "2/2"), ("1", "0", "2/2")]
    assert table[-1].startswith("continuous batching: ")
