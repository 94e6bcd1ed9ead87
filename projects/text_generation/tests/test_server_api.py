"""The server over a real socket: the official client unchanged, fifty at once, and what stops when a client leaves."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
import torch
from fastapi import FastAPI
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from text_generation.backends.hf import PLAIN_STOP, HuggingFaceBackend
from text_generation.backends.types import Message, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.config.serving import ServingConfig
from text_generation.serving.app import create_app
from text_generation.serving.engine import BatchEngine

from .live_server import HELLO, served, until

LINES = [
    "The fox ran over the hill and slept.",
    "User: hello! Assistant: good day to you",
    "a bird sang é 好 by the river",
]


@pytest.fixture(scope="module")
def model() -> HuggingFaceBackend:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(LINES, vocab_size=300, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>", model_max_length=128
    )
    torch.manual_seed(5)
    sizes: Any = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    network = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **sizes))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter *= 4
    return HuggingFaceBackend(network, tokenizer, name="tiny")


@pytest.fixture(scope="module")
def app(model: HuggingFaceBackend) -> FastAPI:
    return create_app(BatchEngine(model, 16), ServingConfig(max_new_tokens=64, default_new_tokens=24))


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as place:
        yield place


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def expected(model: HuggingFaceBackend, prompt: Prompt, n: int, **settings: Any) -> str:
    chosen: dict[str, Any] = {"strategy": "greedy", **settings}
    decoding = DecodingConfig(max_new_tokens=n, **chosen)
    return model.generate([prompt], decoding, seed=3)[0].text


def test_models(client: openai.OpenAI) -> None:
    (only,) = client.models.list().data
    assert (only.id, only.owned_by) == ("tiny", "text-generation")
    assert client.models.retrieve("tiny") == only
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("other/model")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_chat(client: openai.OpenAI, model: HuggingFaceBackend) -> None:
    said = client.chat.completions.create(
        model="tiny", temperature=0, max_completion_tokens=20,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
            {"role": "developer", "content": "Be kind."},
        ],
    )  # fmt: skip
    asked = [Message("system", "Be brief.\n\nBe kind."), Message("user", "hello")]
    (choice,) = said.choices
    assert choice.message.content == expected(model, asked, 20)
    assert (choice.finish_reason, choice.message.role, said.object) == ("length", "assistant", "chat.completion")
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (model.count_tokens(asked), 20)
    assert said.usage.total_tokens == said.usage.prompt_tokens + 20
    # What the client was given can be sent back as it is.
    turns = [*HELLO, choice.message, *HELLO]
    again = client.chat.completions.create(model="tiny", messages=turns, temperature=0, max_tokens=5)
    asked = [Message("user", "hello"), Message("assistant", choice.message.content or ""), Message("user", "hello")]
    assert again.choices[0].message.content == expected(model, asked, 5)


def test_a_stream_of_chat_joins_to_the_whole_answer(client: openai.OpenAI, model: HuggingFaceBackend) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=HELLO, temperature=0, max_tokens=20, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *pieces, end, usage = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == expected(model, [Message("user", "hello")], 20)
    assert len(pieces) > 2  # a random model writes few whole characters
    assert (end.choices[0].finish_reason, end.choices[0].delta.content) == ("length", None)
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens == 20
    assert {chunk.id for chunk in chunks} == {usage.id}
    plain = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=3, stream=True)
    assert all(chunk.choices for chunk in plain)


def test_the_clients_own_stream_helper(client: openai.OpenAI, model: HuggingFaceBackend) -> None:
    whole = expected(model, [Message("user", "hello")], 20)
    stop = whole[-2:]  # the helper takes an answer that was cut for an error
    with client.chat.completions.stream(
        model="tiny", messages=HELLO, temperature=0, max_tokens=20, stop=stop
    ) as stream:
        for _ in stream:
            pass
    assert stream.get_final_completion().choices[0].message.content == whole.partition(stop)[0]


def test_completions_of_several_prompts_and_choices(client: openai.OpenAI, model: HuggingFaceBackend) -> None:
    prompts = ["The fox", "a bird"]
    said = client.completions.create(
        model="tiny", prompt=prompts, n=2, seed=3, temperature=1.4, top_p=0.9, max_tokens=8
    )
    assert [choice.index for choice in said.choices] == [0, 1, 2, 3]
    for index, prompt in ((0, "The fox"), (2, "a bird")):
        assert said.choices[index].text == expected(model, prompt, 8, strategy="sampling", temperature=1.4, top_p=0.9)
    assert said.choices[0].text != said.choices[1].text
    assert said.usage is not None
    assert said.usage.prompt_tokens == sum(map(model.count_tokens, prompts))
    stream = client.completions.create(
        model="tiny", prompt=prompts, n=2, seed=3, temperature=1.4, top_p=0.9, max_tokens=8, stream=True
    )
    texts = [""] * 4
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in said.choices]
    assert len(client.completions.create(model="tiny", prompt="The", top_p=0).choices[0].text) > 0


def test_settings_beyond_openais_reach_the_model(client: openai.OpenAI, model: HuggingFaceBackend) -> None:
    extra: Any = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.5}
    said = client.completions.create(model="tiny", prompt="The fox", seed=3, max_tokens=12, extra_body=extra)
    assert said.choices[0].text == expected(model, "The fox", 12, strategy="sampling", **extra)


def test_stop_sequences_are_not_shown_not_even_in_part(client: openai.OpenAI, model: HuggingFaceBackend) -> None:
    whole = expected(model, "The fox", 24)
    stop = whole[len(whole) // 2 :][:3]
    for given in (stop, ["never said", stop]):
        said = client.completions.create(model="tiny", prompt="The fox", temperature=0, max_tokens=24, stop=given)
        assert (said.choices[0].text, said.choices[0].finish_reason) == (whole.partition(stop)[0], "stop")
        parts = client.completions.create(
            model="tiny", prompt="The fox", temperature=0, max_tokens=24, stop=given, stream=True
        )
        assert "".join(part.choices[0].text for part in parts) == whole.partition(stop)[0]
    assert PLAIN_STOP not in whole


def test_fifty_clients_at_once_all_get_their_own_answer(url: str, model: HuggingFaceBackend, app: FastAPI) -> None:
    prompts = [f"{line[: 4 + n % 9]} {n}" for n, line in enumerate(LINES * 17)][:50]

    async def ask(client: openai.AsyncOpenAI, prompt: str) -> str:
        stream = await client.completions.create(model="tiny", prompt=prompt, temperature=0, max_tokens=24, stream=True)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "length"
        return "".join(chunk.choices[0].text for chunk in chunks)

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, prompt) for prompt in prompts))

    decoding = DecodingConfig(strategy="greedy", max_new_tokens=24)
    assert asyncio.run(ask_all()) == [answer.text for answer in model.generate(prompts, decoding)]
    admission = app.state.service.admission
    until(lambda: (admission.active, admission.waiting) == (0, 0))


def test_health_and_metrics(url: str, client: openai.OpenAI) -> None:
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok", "model": "tiny"}
    before = figures(url)
    made = client.completions.create(model="tiny", prompt="The fox", max_tokens=7).usage
    httpx.get(f"{url}/made/up/{'x' * 50}")
    after = figures(url)
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown['textgen_requests_total{path="/v1/completions",status="200"}'] == 1
    assert grown['textgen_requests_total{path="other",status="404"}'] == 1
    assert made is not None
    # Seven, but where the tokens that are drawn end the text before.
    assert grown["textgen_new_tokens_total"] == made.completion_tokens >= 1
    assert grown["textgen_first_token_seconds_count"] == grown["textgen_answer_seconds_count"] == 1
    assert "xxx" not in json.dumps(after)


def figures(url: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
