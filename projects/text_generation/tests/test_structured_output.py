"""JSON that fits a schema and texts that match an expression: from Python, on the command line, and from the server."""

import asyncio
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import openai
import pytest
import torch
from pydantic import BaseModel
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.openai_client import OpenAIBackend
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Message
from text_generation.cli import main
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig
from text_generation.config.generating import GenerateConfig
from text_generation.config.measuring import MicroscopeConfig
from text_generation.config.serving import ServingConfig
from text_generation.generate import check_fit
from text_generation.prompting.constrained_decoding import ConstraintState
from text_generation.prompting.structured import json_schema_constraint
from text_generation.serving.app import create_app
from text_generation.serving.engine import BatchEngine, ThreadEngine
from text_generation.text_generator import TextGenerator

from .fake_openai_server import backend_of, completion, serving
from .live_server import HELLO, served

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"mood": {"enum": ["merry", "sad"]}, "stars": {"type": "integer", "minimum": 0, "maximum": 5}},
    "required": ["mood", "stars"],
    "additionalProperties": False,
}
FORM: Any = {"type": "json_schema", "json_schema": {"name": "review", "schema": SCHEMA, "strict": True}}


class Review(BaseModel):
    """What the official client asks for by a class."""

    mood: Literal["merry", "sad"]
    liked: bool


@pytest.fixture(scope="module")
def backend() -> HuggingFaceBackend:
    bpe = ByteLevelBPETokenizer()
    lines = ['{"mood": "merry", "stars": 4}', "User: hello! Assistant: a sad fox ran over the hill", "yes no maybe"]
    bpe.train_from_iterator(lines, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>", model_max_length=128
    )
    torch.manual_seed(5)
    config = GPT2Config(
        # More rows than the tokenizer has tokens, as in models that are padded for speed.
        vocab_size=len(tokenizer) + 5, n_embd=32, n_layer=2, n_head=2, n_positions=128, bos_token_id=0, eos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    return HuggingFaceBackend(GPT2LMHeadModel(config), tokenizer, name="tiny")


@pytest.fixture(scope="module")
def folder(backend: HuggingFaceBackend, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("models") / "tiny"
    backend.network.save_pretrained(place)
    backend.tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def url(backend: HuggingFaceBackend) -> Iterator[str]:
    engine = BatchEngine(HuggingFaceBackend(backend.network, backend.tokenizer), 4, "tiny")
    with served(create_app(engine, ServingConfig(max_new_tokens=64, default_new_tokens=48))) as place:
        yield f"{place}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def demanding(**settings: Any) -> DecodingConfig:
    return DecodingConfig(**{"json_schema": json.dumps(SCHEMA), "max_new_tokens": 60, "temperature": 2.0, **settings})


def fits(text: str | None) -> bool:
    jsonschema.validate(json.loads(text or ""), SCHEMA)
    return True


def test_from_python(backend: HuggingFaceBackend) -> None:
    generator = TextGenerator(backend)
    prompts = ["a fox", "yes", "the hill ran over the fox"]
    answers = generator.generate_many(prompts, demanding(), seed=2)
    assert [answer.finish_reason for answer in answers] == ["stop"] * 3
    assert all(fits(answer.text) for answer in answers)
    assert "".join(generator.stream("a fox", demanding(), seed=2)) == answers[0].text
    assert fits(generator.chat([Message("user", "hello")], demanding()).text)
    for seed in range(5):
        answer = generator.generate("hello", demanding(json_schema=None, regex=r"(yes|no)-\d{2}"), seed)
        assert re.fullmatch(r"(yes|no)-\d{2}", answer.text)


def test_settings_that_contradict_each_other() -> None:
    for settings, message in (
        ({"regex": "a"}, "--decoding.json_schema and --decoding.regex cannot both be given: leave one out"),
        (
            {"strategy": "beam_search"},
            "--decoding.json_schema goes with --decoding.strategy greedy or sampling, not beam_search",
        ),
        (
            {"json_schema": None, "regex": "a", "no_repeat_ngram_size": 2},
            "--decoding.regex goes without --decoding.no_repeat_ngram_size, which may forbid what it asks for",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            demanding(**settings)
        assert str(caught.value) == message
    with pytest.raises(ValueError) as caught:
        MicroscopeConfig(prompt="a", decoding=demanding())
    assert str(caught.value) == (
        "the microscope shows what a model does when it is free: leave out --decoding.json_schema and --decoding.regex"
    )
    with pytest.raises(ValueError) as caught:
        GenerateConfig(prompt="a", schema=Path("a.json"), decoding=demanding())
    assert str(caught.value) == "--schema goes without --decoding.json_schema and --decoding.regex: leave one out"


def test_a_hook_and_a_schema_do_not_go_together(backend: HuggingFaceBackend) -> None:
    with pytest.raises(ValueError, match="a hook goes without a JSON Schema or regular expression"):
        backend.generate(["a"], demanding(), hook=lambda rows, new_tokens, logits: logits)


def test_back_ends_that_cannot_be_held_to_a_form_say_so() -> None:
    with pytest.raises(UserError) as caught:
        ScriptedBackend(["no"]).generate(["a"], demanding())
    assert str(caught.value) == (
        "the back end 'scripted' says what its script says: it cannot keep to a JSON Schema or a regular expression."
    )
    for settings, texts_as, message in (
        (
            {"json_schema": None, "regex": "a"},
            "chat",
            "http://127.0.0.1:1/v1 takes no --decoding.regex: OpenAI's protocol has no field for it. Use "
            "--decoding.json_schema, or a local model, --backend.kind hf.",
        ),
        (
            {},
            "completions",
            "http://127.0.0.1:1/v1 takes a --decoding.json_schema for conversations only. Use --backend.texts_as chat.",
        ),
    ):
        with backend_of("http://127.0.0.1:1/v1", texts_as=texts_as) as (backend, _), pytest.raises(UserError) as caught:
            backend.generate(["a"], demanding(**settings))
        assert str(caught.value) == message


def test_a_schema_that_llguidance_gives_up_on_is_no_valid_answer(backend: HuggingFaceBackend) -> None:
    with pytest.raises(UserError) as caught:
        backend.generate(["a"], demanding(json_schema='{"$ref": "#"}'))
    assert str(caught.value) == "the constraint cannot be enforced (NoExtensionBias): make it simpler"


def test_on_the_command_line(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "review.json"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    model = ["--backend.model", folder, "--backend.device", "cpu"]
    for asked in ([], ["--chat", "True"]):
        assert main(["generate", "A fox.", "--schema", str(file), *asked, *model]) == 0
        assert fits(capsys.readouterr().out)
    assert main(["generate", "A fox.", "--decoding.regex", "(yes|no)", *model]) == 0
    assert capsys.readouterr().out in ("yes\n", "no\n")
    assert main(["generate", "A fox.", "--decoding.max_new_tokens", "3", *model]) == 0
    assert capsys.readouterr().out.endswith("\n")
    assert main(["generate", "A fox.", "--schema", str(file), "--decoding.max_new_tokens", "3", *model]) == 2
    assert capsys.readouterr().err == (
        "text-generation generate: the answer was cut after 3 tokens, before it was JSON that fits the schema. Raise "
        "--decoding.max_new_tokens, or bound its parts (maxLength, maxItems).\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--schema {file}: cannot be read (No such file or directory)"),
        (b"\xff", "--schema {file}: cannot be read (not UTF-8)"),
        (b"{", "{file}: the JSON Schema is not JSON: Expecting property name enclosed in double quotes in line 1, "
         "column 2. Mend it there."),
        (b"[1]", "{file}: the JSON Schema must be an object, not [1]"),
        (b'{"uniqueItems": true}', '{file}: this JSON Schema cannot be enforced: Unimplemented keys: ["uniqueItems"]. '
         "Leave that part out and check it afterwards."),
        (b'{"properties": ' * 400 + b"{}" + b"}" * 400,
         "{file}: the JSON Schema is nested too deeply. Make it flatter."),
        (b'{"const": "\\ud800"}',
         "{file}: this JSON Schema cannot be read: unexpected end of hex escape at line 1 column 18"),
    ],
)  # fmt: skip
def test_schemas_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_bytes(content)
    # There is no such model: the schema is looked at before.
    assert main(["generate", "A fox.", "--schema", str(file), "--backend.model", "none"]) == 2
    assert capsys.readouterr().err == f"text-generation generate: {message.format(file=file)}\n"


def test_a_schema_beside_beam_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "schema.json"
    file.write_text("{}")
    assert main(["generate", "A fox.", "--schema", str(file), "--decoding.strategy", "beam_search"]) == 2
    assert capsys.readouterr().err == (
        "text-generation generate: --schema goes with --decoding.strategy greedy or sampling, not beam_search\n"
    )


def test_a_server_gets_the_schema_and_its_answer_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "review.json"
    file.write_text(json.dumps(SCHEMA), encoding="utf-8")
    with serving(completion('{"mood":"sad","stars":1}'), completion("Sure! Here it is.")) as server:
        there = ["--backend.kind", "openai", "--backend.base_url", server.address, "--backend.model", "x"]
        assert main(["generate", "A fox.", "--schema", str(file), *there]) == 0
        assert capsys.readouterr().out == '{"mood":"sad","stars":1}\n'
        assert main(["generate", "A fox.", "--schema", str(file), *there]) == 2
        assert capsys.readouterr().err == (
            "text-generation generate: the answer is not JSON that fits the schema: the server does not enforce it. "
            "Use a local model, --backend.kind hf.\n"
        )
    assert server.asked[0][1]["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }  # fmt: skip


def readme_blocks(language: str) -> list[str]:
    """The README's blocks of a language that ask for answers of a given form."""
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Answers of a given form\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_what_the_readme_shows(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "runs/text_generation/models/tiny")
    (tmp_path / "character.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (commands,) = readme_blocks("bash")
    for command in commands.splitlines():
        assert main(shlex.split(command)[1:]) == 0
    character, answer = capsys.readouterr().out.splitlines()
    assert fits(character)
    assert answer in ("yes", "no")
    (program,) = readme_blocks("python")
    exec(program, {})
    assert capsys.readouterr().out in ("yes\n", "no\n")


def test_our_client_and_our_server(url: str) -> None:
    backend = OpenAIBackend("tiny", base_url=url)
    try:
        answer = backend.generate(["hello"], demanding(), seed=1)[0]
    finally:
        backend.close()
    check_fit(answer, json_schema_constraint(SCHEMA))


def test_the_official_client(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format=FORM, temperature=2, seed=1, n=3
    )
    assert [choice.finish_reason for choice in answer.choices] == ["stop"] * 3
    assert all(fits(choice.message.content) for choice in answer.choices)
    chunks = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format=FORM, temperature=2, seed=1, stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.choices[0].message.content
    some = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format={"type": "json_object"}, max_tokens=60, temperature=0
    )
    assert (some.choices[0].message.content or "").startswith("{")
    review = client.chat.completions.parse(model="tiny", messages=HELLO, response_format=Review, seed=3)
    assert isinstance(review.choices[0].message.parsed, Review)
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="tiny", messages=HELLO, response_format=Review, max_tokens=2)


def test_free_and_held_answers_share_a_batch(url: str, backend: HuggingFaceBackend) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            forms: list[Any] = [FORM, openai.omit, FORM, openai.omit]
            requests = [
                client.chat.completions.create(
                    model="tiny", messages=HELLO, temperature=0, max_tokens=40, response_format=form
                )
                for form in forms
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*requests)]

    held, free, again, another = asyncio.run(ask())
    assert fits(held)
    assert (held, free) == (again, another)
    alone = backend.generate([[Message("user", "hello")]], DecodingConfig(strategy="greedy", max_new_tokens=40))
    assert free == alone[0].text


def test_a_schema_that_cannot_be_enforced_is_refused_before_a_stream_begins(client: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "#"}}}
    asked: Any = {"model": "tiny", "messages": HELLO, "response_format": form}
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked, stream=stream)
        assert caught.value.body == {
            "message": "the constraint cannot be enforced (NoExtensionBias): make it simpler",
            "type": "invalid_request_error", "param": "response_format", "code": "invalid_value",
        }  # fmt: skip
    asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": "x" * 40_000}}}
    with pytest.raises(openai.BadRequestError, match="the schema has 40,013 characters; at most 32,768"):
        client.chat.completions.create(**asked)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt="a", extra_body={"response_format": FORM})
    assert caught.value.code == "unknown_parameter"


def test_a_constraint_that_fails_halfway_ends_its_own_answer_alone(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = ConstraintState.allowed
    steps: list[int] = []

    def giving_up(state: ConstraintState, n_vocabulary: int) -> torch.Tensor:
        steps.append(n_vocabulary)
        if len(steps) == 4:
            raise UserError("the constraint cannot be enforced (too much work): make it simpler")
        return allowed(state, n_vocabulary)

    monkeypatch.setattr(ConstraintState, "allowed", giving_up)
    with pytest.raises(openai.BadRequestError, match="too much work"):
        client.chat.completions.create(model="tiny", messages=HELLO, response_format=FORM, temperature=0)
    monkeypatch.undo()
    answer = client.chat.completions.create(model="tiny", messages=HELLO, response_format=FORM, temperature=0)
    assert fits(answer.choices[0].message.content)


def test_a_model_that_is_not_batched(backend: HuggingFaceBackend) -> None:
    app = create_app(ThreadEngine(backend, 1, "tiny"), ServingConfig(backend=BackendConfig(batch_size=1)))
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="tiny", messages=HELLO, response_format=FORM, max_tokens=60)
    assert fits(answer.choices[0].message.content)
