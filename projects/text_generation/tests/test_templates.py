"""Template files, the shipped library, and what comes of bad values."""

import ast
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.prompting.template_files import TemplateLibrary, read_template
from text_generation.prompting.templates import Template

LIBRARY = TemplateLibrary()
GOOD = """\
name: greet
version: 1.0.0
description: Greets.
variables: {who: Whom to greet.}
text: |-
  Hello {{ who }}!
"""


def write(folder: Path, text: str, name: str = "greet.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path) -> Template:
    return read_template(path, path.name)


@pytest.mark.parametrize("name", LIBRARY.names)
def test_every_shipped_template_renders_and_keeps_its_values(name: str) -> None:
    template = LIBRARY.get(name)
    prompt = template.render({variable: f"<{variable}>" for variable in template.variables})
    text = prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)
    for variable in template.variables:
        assert f"<{variable}>" in text
    assert "{{" not in text
    assert "{%" not in text
    assert not text.endswith(" ")
    if template.schema is not None:
        jsonschema.Draft202012Validator.check_schema(template.schema)
        assert json.dumps(template.schema) in text


def test_the_library_has_every_technique_for_three_tasks() -> None:
    for task in ("sentiment", "extraction", "story"):
        for technique in ("zero_shot", "few_shot", "chain_of_thought", "role", "structured_output"):
            assert f"{task}_{technique}" in LIBRARY.names


def test_few_shot_text_by_hand() -> None:
    template = LIBRARY.get("sentiment_few_shot")
    prompt = template.render({"review": "Fine."}, [{"review": "Bad.", "answer": "negative"}])
    assert prompt == (
        "Decide whether the review is positive or negative. Answer with one word.\n\n"
        "Review: Bad.\nAnswer: negative\n\nReview: Fine.\nAnswer:"
    )


def test_few_shot_examples_become_turns() -> None:
    example = {"message": "See you at 8.", "wanted": "the time", "answer": "8"}
    prompt = LIBRARY.get("extraction_few_shot").render({"message": "m", "wanted": "w"}, [example, example])
    assert not isinstance(prompt, str)
    assert [message.role for message in prompt] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert prompt[1] == Message("user", "Message: See you at 8.\nWanted: the time")
    assert prompt[2] == Message("assistant", "8")


def test_the_function_few_shot_prompt_is_python() -> None:
    prompt = LIBRARY.get("function_few_shot").render({"signature": "def f(x):", "description": "Do it."})
    assert isinstance(prompt, str)
    # A prompt ends before the line break, which tokenizers join with the indentation; `answer_prefix` has it.
    assert prompt.endswith('"""')
    tree = ast.parse(f"{prompt}{LIBRARY.get('function_few_shot').answer_prefix}    return x\n")
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["clamp", "count_words", "f"]


@given(st.text(min_size=1))
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    template = LIBRARY.get("sentiment_zero_shot")
    assert f"Review: {value}\nAnswer:" in template.render({"review": value})


@pytest.mark.parametrize("value", ["{{ 7 * 7 }}", "{% for x in y %}", "{# gone #}", "{{ examples.__class__ }}"])
def test_template_injection_stays_inert(value: str) -> None:
    prompt = LIBRARY.get("sentiment_role").render({"review": value})
    assert prompt[1] == Message("user", value)


def test_the_sandbox_stops_a_template_that_reaches_out(tmp_path: Path) -> None:
    text = GOOD.replace("{{ who }}", "{{ who.__class__.__mro__ }}")
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, text)).render({"who": "x"})
    assert str(caught.value) == (
        "greet.yaml: access to attribute '__class__' of 'str' object is unsafe. Templates run in a sandbox: use plain "
        "values."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "greet.yaml: 1 variable has no value: who (Whom to greet.)"),
        ({"whom": "x"}, "greet.yaml: unknown variable 'whom'. Did you mean 'who'?"),
        ({"who": "x", "zzz": 1}, "greet.yaml: unknown variable 'zzz'. Its variables are who."),
    ],
)
def test_wrong_values(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, GOOD)).render(values)
    assert str(caught.value) == message


BAD_FILES = [
    (
        "name: [",
        "greet.yaml, line 1: is not valid YAML: expected the node content, but found '<stream end>'. Indent with "
        "blanks, and put a text with ': ' or '{' in quotes or under '|-'.",
    ),
    ("- a", "greet.yaml: must hold the fields name, version, description, variables and text or messages"),
    (GOOD + "stops: [a]", "greet.yaml: unknown field 'stops'. Did you mean 'stop'?"),
    (
        GOOD.replace("1.0.0", "1.0"),
        "greet.yaml: the field 'version' must be a text (in quotes, where it looks like a number), not 1.0",
    ),
    (
        GOOD.replace("version: 1.0.0\n", ""),
        "greet.yaml: the field 'version' is missing. A template needs name, version, description, variables.",
    ),
    (
        GOOD + "messages: []",
        "greet.yaml: give one of text (a text to go on with) and messages (a conversation to answer)",
    ),
    (
        GOOD.replace("name: greet", "name: hello"),
        "greet.yaml: its name is 'hello', but the file's is 'greet'. Make them equal.",
    ),
    (
        GOOD.replace("{{ who }}", "{{ wh }}"),
        "greet.yaml: the text uses 'wh', which is not among its variables. Did you mean 'who'?",
    ),
    (
        GOOD.replace("{{ who }}", "you"),
        "greet.yaml: declares the variable 'who', which its text never uses. Write "
        "{{ who }} where it belongs, or remove it.",
    ),
    (
        GOOD.replace("{{ who }}", "{{ who }} {{ schema }}"),
        "greet.yaml: the text uses 'schema', and the file has no field of that name. Add it.",
    ),
    (
        GOOD.replace("{{ who }}", "{{ who"),
        "greet.yaml: text, line 1: is not valid Jinja2: unexpected char '!' at 12. Gaps are "
        "written {{ name }}, conditions {% if name %} … {% endif %}.",
    ),
    (GOOD + "examples: [{who: x}]", "greet.yaml: example 1 must be a mapping with an 'answer' among its fields"),
    (GOOD + "stop: ['']", "greet.yaml: stop 1 must be a text that is not empty"),
]


BAD_SCHEMAS = [
    ("{type: strin}", ".type is not valid JSON Schema: 'strin' is not one of ['array', 'boolean', 'integer', 'null', "
     "'number', 'object', 'string']"),
    ("{anyOf: [{minLength: -1}]}", ".anyOf[0].minLength is not valid JSON Schema: -1 is less than the minimum of 0"),
    ("{properties: {a: {pattern: '['}}}", ".properties.a.pattern is not valid JSON Schema: '[' is not a 'regex'"),
    ("{$schema: [a]}", ".$schema must be a text"),
    ("{const: 2026-01-01}", " cannot be written as JSON: Object of type date is not JSON serializable"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "message"), BAD_SCHEMAS)
def test_a_schema_that_is_none_is_refused(tmp_path: Path, schema: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, f"{GOOD}\nschema: {schema}\n"))
    assert str(caught.value) == f"greet.yaml: schema{message}"


def test_a_schema_is_as_json_has_it(tmp_path: Path) -> None:
    template = read(write(tmp_path, GOOD + "\nschema: {$schema: unknown, properties: {1: {type: string}}}\n"))
    assert template.schema == {"$schema": "unknown", "properties": {"1": {"type": "string"}}}


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, text))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("[{role: bot, content: a}]", "message 1 has the role 'bot'. Roles are system, user, assistant."),
        ("[{role: user}]", "message 1 must have a role and a content, and nothing else"),
        ("[{role: user, content: 3}]", "message 1: its content must be a text"),
        ("[{each_example: 3}]", "message 1: each_example must be a list of messages"),
    ],
)
def test_bad_messages(tmp_path: Path, messages: str, message: str) -> None:
    text = GOOD.split("text:")[0] + f"messages: {messages}\n"
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, text))
    assert str(caught.value) == f"greet.yaml: {message}"


def test_an_example_without_a_field(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        LIBRARY.get("sentiment_few_shot").render({"review": "x"}, [{"answer": "positive"}])
    assert str(caught.value) == (
        "library/sentiment_few_shot.yaml: 'dict object' has no attribute 'review'. Give every example the fields "
        "that the text uses."
    )


def test_an_empty_prompt(tmp_path: Path) -> None:
    template = read(write(tmp_path, GOOD.replace("Hello {{ who }}!", "{{ who }}")))
    with pytest.raises(UserError, match="the prompt is empty with these values"):
        template.render({"who": ""})


def test_unknown_template() -> None:
    with pytest.raises(UserError) as caught:
        LIBRARY.get("sentiment_zeroshot")
    assert str(caught.value) == "unknown template 'sentiment_zeroshot'. Did you mean 'sentiment_zero_shot'?"
    with pytest.raises(UserError, match=r"mine\.yaml: cannot be read \(No such file or directory\)"):
        LIBRARY.get("mine.yaml")


def test_folders_of_the_user(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    library = TemplateLibrary([tmp_path])
    assert library.get("greet").render({"who": "you"}) == "Hello you!"
    assert library.source_of("greet") == GOOD
    write(tmp_path, GOOD, "story_role.yaml")
    with pytest.raises(UserError, match=r"there is a template 'story_role' already \(library/story_role.yaml\)"):
        TemplateLibrary([tmp_path])
    with pytest.raises(UserError, match="no such folder of templates"):
        TemplateLibrary([tmp_path / "none"])
