"""Fifty concurrent streaming clients against the server: errors, complete streams, first-token time, tokens a second.

    python benchmarks/server_load.py [MODEL_FOLDER] [--clients 50] [--tokens 64] [--rounds 3]
    python benchmarks/server_load.py --url http://127.0.0.1:8001/v1 --model NAME     another server, vLLM say

All clients start at once and read their streams to the end. The same requests then go to the same model with one slot,
that is, one answer after another, in the same run: the ratio is what continuous batching brings. A client's first-token
time includes its waiting. Without a folder, a GPT-2 of 4 layers, 256 wide, with random weights answers: the time does
not depend on the weights. The server has a process of its own; all clients share another one.
"""

import argparse
import asyncio
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import openai
import torch
import transformers
import uvicorn
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.metrics.latency import latency_summary
from roadmap_shared.offline import python_reference
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.hf_loading import quiet_transformers
from text_generation.config.backend import BackendConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving.app import create_app
from text_generation.serving.command import address, listen
from text_generation.serving.engine import BatchEngine


@dataclass(frozen=True)
class Stream:
    """What one client saw."""

    first_token: float
    """Seconds."""
    n_tokens: int
    complete: bool
    error: str | None = None


def random_model(folder: Path) -> None:
    """Save a GPT-2 of 5 million parameters with a tokenizer trained on CPython's language reference."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        python_reference().text.splitlines(), vocab_size=4096, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>", model_max_length=512
    )
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=256, n_layer=4, n_head=4, n_positions=512, bos_token_id=0, eos_token_id=0
    )
    with quiet_transformers():
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def serve(folder: str, slots: int, clients: int, tell: Connection) -> None:
    """Serve the model at a free port, and tell the API's address."""
    transformers.utils.logging.set_verbosity_error()
    config = ServingConfig(backend=BackendConfig(model=folder, batch_size=slots), max_waiting=clients, max_choices=1)
    engine = BatchEngine(HuggingFaceBackend.load(folder, device="auto"), slots, "model")
    with listen("127.0.0.1", 0) as listener:
        tell.send(f"{address('127.0.0.1', listener)}/v1")
        uvicorn.Server(uvicorn.Config(create_app(engine, config), log_level="error")).run(sockets=[listener])


@contextmanager
def served(folder: str, slots: int, clients: int) -> Iterator[str]:
    """The server in a process of its own; yields the API's address.

    Raises:
        EOFError: it ended before it listened; what it said stands above.
    """
    context = multiprocessing.get_context("spawn")
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(folder, slots, clients, tell))
    process.start()
    tell.close()
    try:
        yield hear.recv()
    finally:
        process.terminate()
        process.join()


async def ask(client: openai.AsyncOpenAI, model: str, number: int, n_tokens: int) -> Stream:
    """One client. Prompts are of different lengths."""
    prompt = f"{number}. " + "The statement is executed when the condition holds. " * (1 + number % 5)
    begun = time.perf_counter()
    first, complete, counted = float("inf"), False, 0
    try:
        stream = await client.completions.create(
            model=model, prompt=prompt, max_tokens=n_tokens, seed=number, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].text:
                first = min(first, time.perf_counter() - begun)
            complete |= bool(chunk.choices and chunk.choices[0].finish_reason)
            counted = chunk.usage.completion_tokens if chunk.usage else counted
    except openai.OpenAIError as error:
        return Stream(first, counted, False, str(error))
    return Stream(first, counted, complete)


async def crowd(url: str, model: str, clients: int, n_tokens: int) -> tuple[list[Stream], float]:
    """All clients at once; returns what they saw and the seconds until the last was done."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600) as client:
        begun = time.perf_counter()
        streams = await asyncio.gather(*(ask(client, model, number, n_tokens) for number in range(clients)))
        return streams, time.perf_counter() - begun


def measure(name: str, url: str, model: str, clients: int, n_tokens: int, rounds: int) -> float:
    """Print a row and return the tokens a second of all rounds together."""
    asyncio.run(crowd(url, model, 2, 4))  # the first forward pass allocates
    runs = [asyncio.run(crowd(url, model, clients, n_tokens)) for _ in range(rounds)]
    streams = [stream for seen, _ in runs for stream in seen]
    errors = [stream.error for stream in streams if stream.error]
    rate = sum(stream.n_tokens for stream in streams) / sum(seconds for _, seconds in runs)
    firsts = [stream.first_token for stream in streams if stream.first_token < float("inf")]
    first = latency_summary(firsts) if firsts else None
    shown = f"{first.p50:10.3f}{first.p99:10.3f}" if first else f"{'':20}"
    done = f"{sum(stream.complete for stream in streams)}/{len(streams)}"
    print(f"{name:24}{len(errors):8}{done:>12}{shown}{rate:12.0f}")
    for error in sorted(set(errors))[:3]:
        print(f"    {error}")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="a model folder or a hub id")
    parser.add_argument("--url", help="measure this server instead, its address with /v1")
    parser.add_argument("--model", default="model", help="the model's name at --url")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each answer")
    parser.add_argument("--slots", type=int, default=16, help="answers at a time")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    print(f"{platform.machine()}, torch {torch.__version__}, transformers {transformers.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, {given.clients} clients, {given.tokens} tokens, {given.rounds} rounds")
    print(f"{'':24}{'errors':>8}{'complete':>12}{'first p50':>10}{'p99 (s)':>10}{'tokens/s':>12}")
    size = (given.clients, given.tokens, given.rounds)
    if given.url:
        measure(given.model, given.url, given.model, *size)
        return
    with tempfile.TemporaryDirectory() as temporary:
        if given.folder is None:
            random_model(Path(temporary))
        rates = {}
        for slots in (given.slots, 1):
            with served(given.folder or temporary, slots, given.clients) as url:
                rates[slots] = measure(f"batches of up to {slots}", url, "model", *size)
    print(f"continuous batching: {rates[given.slots] / rates[1]:.2f} × the tokens a second of one answer at a time")


if __name__ == "__main__":
    main()
