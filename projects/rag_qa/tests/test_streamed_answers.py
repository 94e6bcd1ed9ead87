"""A streamed answer: what is shown is the answer, and the model is asked once for both."""

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx
import pytest

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation import prompts
from rag_qa.generation.extractive import ExtractiveGenerator
from rag_qa.generation.prompted import Message, PromptedGenerator
from rag_qa.types import Answer

from .generation_fakes import KETTLE, WordEncoder, retrieved
from .serving_fakes import FakeBackend, bearer, fake_app, served

QUESTION = "How many days does the warranty of the kettle last?"
GOOD = "The warranty of the kettle lasts 730 days [1]."
BAD = "The warranty of the kettle lasts 9 days [1]."
OPEN = GenerationConfig(refuse_below=0.0, injection_defence="none")


class Counting(PromptedGenerator):
    """A double of a model that counts how often it is asked."""

    name = "counting"
    context_window = 100_000  # type: ignore[assignment]

    def __init__(self, config: GenerationConfig, reply: str) -> None:
        super().__init__(config, WordEncoder())
        self.reply, self.n_asked = reply, 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message["content"]) for message in messages)

    def complete(self, messages: Sequence[Message]) -> Iterator[str]:
        self.n_asked += 1
        yield from self.reply


def drained(stream: Generator[str, None, Answer]) -> tuple[str, Answer]:
    parts: list[str] = []
    while True:
        try:
            parts.append(next(stream))
        except StopIteration as end:
            return "".join(parts), end.value


@pytest.mark.parametrize("unsupported", ["strike", "mark"])
@pytest.mark.parametrize(
    "reply", [f"{BAD} {GOOD} {BAD} Descale it with citric acid every two months. [1]", GOOD, BAD, "NO ANSWER", ""]
)
def test_the_model_is_asked_once_for_stream_and_answer(reply: str, unsupported: Literal["strike", "mark"]) -> None:
    generator = Counting(replace(OPEN, unsupported=unsupported), reply)
    shown, answer = drained(generator.stream(QUESTION, retrieved(KETTLE)))
    assert generator.n_asked == 1
    assert answer == generator.answer(QUESTION, retrieved(KETTLE))
    assert shown == answer.text


def test_a_refusal_before_the_model_asks_it_never() -> None:
    generator = Counting(GenerationConfig(refuse_below=1.0), GOOD)
    shown, answer = drained(generator.stream(QUESTION, retrieved(KETTLE)))
    assert (shown, answer.refused, generator.n_asked) == (prompts.REFUSAL_EN, True, 0)


def test_the_extractive_generator_returns_its_answer() -> None:
    generator = ExtractiveGenerator(OPEN, WordEncoder())
    shown, answer = drained(generator.stream(QUESTION, retrieved(KETTLE)))
    assert answer == generator.answer(QUESTION, retrieved(KETTLE))
    assert shown == answer.text


@pytest.mark.parametrize("stream", [True, False])
def test_one_question_to_the_api_is_one_question_to_the_model(tmp_path: Path, stream: bool) -> None:
    generator = Counting(OPEN, GOOD)
    backend = FakeBackend({"kettle.txt": (KETTLE, ("hr",))})
    backend.stream, backend.answer = generator.stream, generator.answer  # type: ignore[method-assign]
    with served(fake_app(tmp_path, backend)) as url:
        body = {"question": QUESTION, "stream": stream}
        said = httpx.post(f"{url}/ask", json=body, headers=bearer("alice"), timeout=30).text
    last = said.rpartition("event: answer\ndata: ")[2]
    assert json.loads(last)["text"] == "The warranty of the kettle lasts 730 days."
    assert generator.n_asked == 1
