"""Language models as generators: context budget, checks of the answer, a local model, a server and its failures."""

import http.server
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation import prompts
from rag_qa.generation.answer_generator import build_generator
from rag_qa.generation.openai_generator import OpenAIGenerator
from rag_qa.generation.prompted import UNSUPPORTED, Message, PromptedGenerator
from rag_qa.protocols import Turn
from roadmap_shared.errors import UserError

from .generation_fakes import BRIDGE, KETTLE, WordEncoder, retrieved

QUESTION = "How many days does the warranty of the kettle last?"
GOOD = "The warranty of the kettle lasts 730 days [1]."
BAD = "The warranty of the kettle lasts 9 days [1]."


class Scripted(PromptedGenerator):
    """Says what it is given, in pieces; a token is a character."""

    name = "scripted"
    window = 100_000

    def __init__(self, config: GenerationConfig, *pieces: str) -> None:
        super().__init__(config, WordEncoder())
        self._pieces = pieces

    @property
    def context_window(self) -> int:
        return self.window

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    def complete(self, messages: Sequence[Message]) -> Iterator[str]:
        yield from self._pieces


OPEN = GenerationConfig(refuse_below=0.0, injection_defence="none")


def test_unsupported_sentences_are_struck_or_marked() -> None:
    struck = Scripted(OPEN, f"{GOOD} {BAD}").answer(QUESTION, retrieved(KETTLE))
    assert struck.text == "The warranty of the kettle lasts 730 days."
    marked = Scripted(replace(OPEN, unsupported="mark"), f"{GOOD} {BAD}").answer(QUESTION, retrieved(KETTLE))
    assert marked.text == f"{struck.text} The warranty of the kettle lasts 9 days. {UNSUPPORTED}"
    assert [statement.supported for statement in marked.statements] == [True, False]


@pytest.mark.parametrize("reply", ["", "NO ANSWER", "no answer.", BAD])
def test_no_answer_and_nothing_supported_are_refusals(reply: str) -> None:
    generator = Scripted(OPEN, reply)
    answer = generator.answer(QUESTION, retrieved(KETTLE))
    assert (answer.refused, answer.text) == (True, prompts.REFUSAL_EN)
    assert "".join(generator.stream(QUESTION, retrieved(KETTLE))) == prompts.REFUSAL_EN


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30))
def test_the_stream_is_the_answer_however_it_comes(size: int) -> None:
    text = f"{GOOD} {BAD} Descale it with citric acid every two months. [1]"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    generator = Scripted(OPEN, *pieces)
    assert "".join(generator.stream(QUESTION, retrieved(KETTLE))) == generator.answer(QUESTION, retrieved(KETTLE)).text


@settings(max_examples=25, deadline=None)
@given(st.integers(1200, 4000), st.integers(1, 4), st.integers(0, 3))
def test_prompts_fit_and_keep_instructions_and_question(window: int, n_passages: int, n_turns: int) -> None:
    generator = Scripted(replace(OPEN, max_new_tokens=10))
    generator.window = window
    found = retrieved(*[f"{KETTLE} {BRIDGE} {i}" * 3 for i in range(n_passages)])
    turns = [Turn(f"earlier {i}", "answer " * 20) for i in range(n_turns)]
    messages = generator.messages(QUESTION, found, turns)
    assert generator.count_tokens(messages) <= window - 10
    assert messages[0]["content"] == prompts.system_prompt()
    assert messages[1]["content"].endswith(f"Question: {QUESTION}")
    assert "[1] d0.txt, page 2\n" in messages[1]["content"]


def test_no_room_for_a_passage_is_said() -> None:
    generator = Scripted(replace(OPEN, max_new_tokens=10))
    generator.window = 500
    with pytest.raises(UserError) as caught:
        generator.messages(QUESTION, retrieved(KETTLE))
    assert str(caught.value) == (
        "the context window of 500 tokens holds no passage beside the instructions, the question and 10 tokens of "
        "answer. Use a model with a larger one, or a smaller --generation.max_new_tokens."
    )


def test_confident_refusal_asks_no_model() -> None:
    class Silent(Scripted):
        def complete(self, messages: Sequence[Message]) -> Iterator[str]:
            raise AssertionError("asked")

    answer = Silent(GenerationConfig(refuse_below=1.0)).answer(QUESTION, retrieved(KETTLE))
    assert answer.refused


# A server that answers from a list: (status, body or pieces).


class _Server(http.server.ThreadingHTTPServer):
    replies: list[tuple[int, Any]]
    asked: list[dict[str, object]]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status, reply = server.replies.pop(0)
        if status == 200:
            events = [{"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [
                {"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in reply]  # fmt: skip
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            kind = "text/event-stream"
        else:
            body, kind = json.dumps(reply), "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.replies, server.asked = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _over(server: _Server, waits: list[float], **changes: object) -> OpenAIGenerator:
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    config = GenerationConfig(kind="openai", model="m", base_url=url, refuse_below=0.0, **changes)  # type: ignore[arg-type]
    return OpenAIGenerator(config, WordEncoder(), sleep=waits.append)


def test_a_server_is_asked_and_tried_again(server: _Server) -> None:
    server.replies = [(503, {"message": "busy"}), (200, ["The warranty of the kettle ", "lasts 730 days [1]."])]
    waits: list[float] = []
    generator = _over(server, waits)
    answer = generator.answer(QUESTION, retrieved(KETTLE))
    generator._client.close()
    assert answer.text == "The warranty of the kettle lasts 730 days."
    assert answer.generator == "openai:m"
    assert waits == [0.5]
    assert server.asked[1]["messages"][0]["role"] == "system"  # type: ignore[index]
    assert (server.asked[1]["temperature"], server.asked[1]["max_tokens"]) == (0.0, 300)


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        ([(503, {"message": "busy"})] * 3, "answered 503: busy (tried 3 times)"),
        ([(404, {"message": "no m"})], "knows no model 'm' at this address (404): no m"),
        (
            [(401, {"message": "bad key s3cret"})],
            "refused the key (401): bad key [key]. Put a valid one into the environment variable MY_KEY.",
        ),
        ([(400, {"message": "too long"})], "refused the request (400): too long"),
    ],
)
def test_a_failing_server_is_one_line(
    server: _Server, monkeypatch: pytest.MonkeyPatch, replies: list[tuple[int, object]], message: str
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    server.replies = list(replies)
    generator = _over(server, [], api_key_env="MY_KEY")
    with pytest.raises(UserError) as caught:
        generator.answer(QUESTION, retrieved(KETTLE))
    generator._client.close()
    assert str(caught.value) == f"http://127.0.0.1:{server.server_address[1]}/v1 {message}"


def test_an_unreachable_server_says_how_often_it_was_tried() -> None:
    closed = _Server(("127.0.0.1", 0), _Handler)
    closed.server_close()
    generator = _over(closed, [], retries=1)
    with pytest.raises(UserError) as caught:
        generator.answer(QUESTION, retrieved(KETTLE))
    generator._client.close()
    url = f"http://127.0.0.1:{closed.server_address[1]}/v1"
    assert str(caught.value) == f"{url} cannot be reached: [Errno 111] Connection refused (tried 2 times)"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with a byte-level BPE of a few lines."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([KETTLE, BRIDGE, prompts.SYSTEM], vocab_size=400, special_tokens=["<end>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<end>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=1024, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_local_model_answers_within_its_window(tiny_model: Path) -> None:
    config = GenerationConfig(kind="hf", model=str(tiny_model), device="cpu", max_new_tokens=8, refuse_below=0.0)
    generator = build_generator(config, WordEncoder())
    assert isinstance(generator, PromptedGenerator)
    found = retrieved(*[f"{KETTLE} {BRIDGE}" * 4] * 4)
    messages = generator.messages(QUESTION, found)
    assert generator.context_window == 1024
    assert generator.count_tokens(messages) <= 1016
    pieces = list(generator.complete(messages))
    assert "".join(pieces) == "".join(generator.complete(messages))
    # Random weights say nothing that a passage supports.
    assert generator.answer(QUESTION, found).refused


def test_a_chat_template_is_used(tiny_model: Path) -> None:
    config = GenerationConfig(kind="hf", model=str(tiny_model), device="cpu", max_new_tokens=8)
    generator = build_generator(config, WordEncoder())
    tokenizer = generator._tokenizer  # type: ignore[attr-defined]
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    ids = generator._ids([{"role": "user", "content": "hi"}])  # type: ignore[attr-defined]
    assert tokenizer.decode(ids) == "<user>hi<assistant>"


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    config = GenerationConfig(kind="hf", model=str(tmp_path), device="cpu")
    with pytest.raises(UserError) as caught:
        build_generator(config, WordEncoder())
    assert str(caught.value).startswith(f"--generation.model {tmp_path} cannot be read as a causal language model: ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "hf"}, "--generation.kind hf needs --generation.model"),
        ({"max_sentences": 4}, "--generation.max_sentences 4 must be 1 to 3"),
        ({"refuse_below": 1.5}, "--generation.refuse_below 1.5 must lie between 0 and 1"),
        ({"base_url": "localhost"}, "--generation.base_url localhost must begin with http:// or https://"),
        (
            {"context_window": 300},
            "--generation.context_window 300 must be above --generation.max_new_tokens 300",
        ),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        GenerationConfig(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message
