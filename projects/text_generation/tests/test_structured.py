"""Constrained decoding: valid whatever the model, the masks against brute force, and clear refusals."""

import json
import random
import re
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.constrained_cost import ConstrainedText, constraint_cost, usable, write_constrained
from text_generation.prompting.constrained_decoding import (
    ConstraintEngine,
    ConstraintHook,
    ConstraintProcessor,
    ConstraintState,
)
from text_generation.prompting.structured import (
    Constraint,
    ascii_classes,
    compiles,
    json_schema_constraint,
    longest_valid_prefix,
    python_body_constraint,
    regex_constraint,
)
from text_generation.prompting.template_files import TemplateLibrary

CORPUS = ['{"name": "a", "n": 12}', "    return a + 1\n    if x in y:\n        for i in range(n):\n", "true false null"]
SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "label": {"enum": ["positive", "negative"]},
            "score": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["label", "score"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4},
    {"type": "string", "maxLength": 8},
    {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-f]{2,4}$"}]},
    {
        "$defs": {"leaf": {"const": "x"}},
        "type": "object",
        "properties": {
            "left": {"$ref": "#/$defs/leaf"},
            "right": {"type": ["integer", "null"], "minimum": -5, "maximum": 5},
        },
        "required": ["left"],
        "additionalProperties": False,
    },
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(CORPUS * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>")


@pytest.fixture(scope="module")
def network(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    # More rows than the tokenizer has tokens, as in models that are padded for speed.
    config = GPT2Config(
        vocab_size=len(tokenizer) + 13, n_positions=256, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def engine(tokenizer: PreTrainedTokenizerFast) -> ConstraintEngine:
    return ConstraintEngine(tokenizer)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=st.sampled_from(SCHEMAS), seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 1.0, 3.0]))
def test_every_whole_text_of_a_random_model_fits_the_schema(
    network: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    engine: ConstraintEngine,
    schema: dict[str, Any],
    seed: int,
    temperature: float,
) -> None:
    state = engine.start(json_schema_constraint(schema))
    generator = torch.Generator().manual_seed(seed)
    found = write_constrained(
        network, tokenizer, "x", state, max_new_tokens=80, temperature=temperature, generator=generator
    )
    assert found.complete
    jsonschema.validate(json.loads(found.text), schema)
    assert found.forbidden_nats > 0


@pytest.mark.parametrize("pattern", ["[a-c]{3,5}", r"\d{4}-\d{2}", "(yes|no|maybe)"])
def test_regular_expressions_through_transformers_generate(
    network: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, engine: ConstraintEngine, pattern: str
) -> None:
    torch.manual_seed(1)
    inputs = tokenizer(["a", "b", "x"], return_tensors="pt")
    for options in ({"do_sample": True, "num_beams": 1}, {"do_sample": False, "num_beams": 3}):
        processor = ConstraintProcessor(engine, regex_constraint(pattern), prompt_length=1)
        output = network.generate(  # pyright: ignore[reportAttributeAccessIssue]
            **inputs, **options, max_new_tokens=20, logits_processor=[processor], pad_token_id=tokenizer.pad_token_id
        )
        for text in tokenizer.batch_decode(output[:, 1:], skip_special_tokens=True):
            assert re.fullmatch(pattern, text)


def test_the_hook_in_this_projects_loop(
    network: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, engine: ConstraintEngine
) -> None:
    backend = HuggingFaceBackend(network, tokenizer, batch_size=2)
    hook = ConstraintHook(engine, json_schema_constraint(SCHEMAS[0]))
    decoding = DecodingConfig(strategy="sampling", max_new_tokens=60, temperature=2.0)
    answers = backend.generate(["a", "bb", "{", "x y"], decoding, hook=hook)
    for answer in answers:
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(answer.text), SCHEMAS[0])
    # A second call with the same hook begins anew.
    assert backend.generate(["a", "bb", "{", "x y"], decoding, hook=hook) == answers
    assert "".join(backend.stream("a", decoding, hook=hook)) == answers[0].text


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\d+\.\w", "[0-9]+\\.[A-Za-z0-9_]"),
        (r"[\d\-x]\D", "[0-9\\-x][^0-9]"),
        (r"\\d[\]\w]", r"\\d[\]A-Za-z0-9_]"),
        (r"[]\s]", r"[] \t\n\r\f\v]"),
    ],
)
def test_escapes_of_classes_become_ascii(pattern: str, expected: str) -> None:
    assert ascii_classes(pattern) == expected


def test_a_limit_in_the_middle_is_told(
    network: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, engine: ConstraintEngine
) -> None:
    constraint = json_schema_constraint(SCHEMAS[0])
    found = write_constrained(network, tokenizer, "x", engine.start(constraint), max_new_tokens=4)
    assert not found.complete
    assert not constraint.is_valid(found.text)
    answer = HuggingFaceBackend(network, tokenizer).generate(
        ["x"], DecodingConfig(strategy="greedy", max_new_tokens=4), hook=ConstraintHook(engine, constraint)
    )[0]
    assert answer.finish_reason == "length"


def test_masks_against_brute_force(tokenizer: PreTrainedTokenizerFast, engine: ConstraintEngine) -> None:
    """A token is allowed exactly where text so far and token together begin a text of the expression."""
    texts = [a + b for a in ("ab", "ba", "bb") for b in ("", "a", "aa")]
    state = engine.start(regex_constraint("(ab|ba|bb)a?a?"))
    vocabulary = [str(tokenizer.decode([token])) for token in range(len(tokenizer))]
    for text in ("", "b", "ba", "baa"):
        branch = state.copy()
        for token in tokenizer(text)["input_ids"]:
            branch.push(token)
        allowed = branch.allowed(len(tokenizer) + 5)
        expected = [
            text in texts if token == tokenizer.eos_token_id else any(whole.startswith(text + piece) for whole in texts)
            for token, piece in enumerate(vocabulary)
        ]
        assert allowed.tolist() == expected + [False] * 5
    with pytest.raises(ValueError, match="is not allowed here"):
        state.copy().push(tokenizer("z")["input_ids"][0])


def test_the_costs_add_up(network: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    cost = constraint_cost(network, tokenizer, ["a", "b"], json_schema_constraint(SCHEMAS[1]), max_new_tokens=30)
    assert cost.constrained_valid == (True, True)
    assert cost.free_valid == (False, False)
    assert (cost.kind, cost.free_cut_valid, cost.constrained_cut_valid) == ("json_schema", (False, False), (True, True))
    assert all(text.forbidden_nats == 0 for text in cost.free)
    for text in cost.constrained:
        ids = torch.tensor([[*tokenizer("a" if text is cost.constrained[0] else "b")["input_ids"], *text.tokens]])
        with torch.inference_mode():
            logprobs = network(ids).logits[0].log_softmax(-1)
        by_hand = sum(float(logprobs[place, token]) for place, token in enumerate(text.tokens))
        assert text.logprob == pytest.approx(by_hand, abs=1e-4)
        # What the masks took cannot exceed what the text lost.
        assert 0 < text.forbidden_nats < -text.logprob + 1e-6
    n_tokens = sum(len(text.tokens) for text in cost.constrained)
    assert cost.nats_per_token(cost.constrained) == pytest.approx(
        -sum(text.logprob for text in cost.constrained) / n_tokens
    )
    assert cost.tokens_per_second(cost.free) > 0


# Python


def walk(state: ConstraintState, tokenizer: PreTrainedTokenizerFast, seed: int, max_tokens: int = 120) -> str | None:
    """A random walk through the grammar that hurries to the end of a line; None where it does not arrive."""
    generator = random.Random(seed)
    end: Any = tokenizer.eos_token_id
    ends = {end, *tokenizer("\n")["input_ids"]}
    tokens: list[int] = []
    while len(tokens) < max_tokens:
        allowed = state.allowed(len(tokenizer)).nonzero()[:, 0].tolist()
        closing = [token for token in allowed if token in ends or tokenizer.decode([token]) in ") ] } :".split()]
        token = generator.choice(closing if closing and generator.random() < 0.4 else allowed)
        state.push(token)
        if state.ended:
            return str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
        tokens.append(token)
    return None


def test_every_walk_through_the_python_grammar_compiles(
    tokenizer: PreTrainedTokenizerFast, engine: ConstraintEngine
) -> None:
    constraint = python_body_constraint()
    texts = [walk(engine.start(constraint), tokenizer, seed) for seed in range(100)]
    whole = [text for text in texts if text is not None]
    assert len(whole) > 25
    for text in whole:
        assert compiles(f"def f():\n{text}"), text


def accepts(constraint: Constraint, text: str, engine: ConstraintEngine, tokenizer: PreTrainedTokenizerFast) -> bool:
    state = engine.start(constraint)
    try:
        for token in tokenizer(text)["input_ids"]:
            state.push(token)
    except ValueError:
        return False
    return state.complete


@pytest.mark.parametrize(
    ("body", "inside"),
    [
        ('    """Return the total."""\n    return sum(values) / len(values)\n', True),
        (
            "    if x is None and not y:\n        return {'a': [1, 2.5], 'b': (x,)}\n    elif z[1:2]:\n        pass\n",
            True,
        ),
        (
            "    for i, x in enumerate(xs):\n        if x.done(key=i):\n            break\n        # go on\n        "
            "n += 1\n",
            True,
        ),
        (
            "    try:\n        with open(path) as file:\n            yield file\n    except a.B as e:\n        raise\n",
            True,
        ),
        ("    a, b.c[0] = [x ** 2 for x in xs if x not in y], -1\n", True),
        ("    x = a if b else c\n    from os import path\n", True),
        ("    break\n", False),
        ("  return 1\n", False),
        ("    return 1", False),
        ("    if x:\n    return 1\n", False),
        ("    class = 1\n", False),
        ("    f(a=1, b=2)\n", False),
        ("    from __future__ import annotations\n", False),
        ("    x = 012\n", False),
        ("    f(x) = 1\n", False),
        ("    # nothing\n", False),
    ],
)
def test_the_python_subset_by_hand(
    engine: ConstraintEngine, tokenizer: PreTrainedTokenizerFast, body: str, inside: bool
) -> None:
    assert accepts(python_body_constraint(), body, engine, tokenizer) is inside
    if inside:
        assert compiles(f"def f():\n{body}")


def test_a_cut_body_keeps_its_whole_statements() -> None:
    constraint = python_body_constraint()
    assert longest_valid_prefix("    x = 1\n    if x:\n        retu", constraint) == "    x = 1\n"
    assert longest_valid_prefix("    x = (1", constraint) is None
    assert longest_valid_prefix('{"a": 1', json_schema_constraint({"type": "object"})) is None
    assert longest_valid_prefix("{}", json_schema_constraint({"type": "object"})) == "{}"
    # A text that came to its end is judged as it stands.
    for text, complete, valid in (
        ("    x = 1\n    retu", False, True),
        ("    x = (1", False, False),
        ("    x = 1\n    y = (", True, False),
        ("    x = 1", True, True),
    ):
        assert usable(ConstrainedText(text, (1,), complete, -1.0, 0.0, 1.0), constraint) is valid
    # Escapes mean ASCII, whatever digits Unicode knows.
    assert not regex_constraint(r"\d").is_valid("٣")
    with pytest.raises(ValueError, match="max_depth must be 1 to 6, got 0"):
        python_body_constraint(0)


# Mistakes


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            '{"type": "strin"}',
            "invalid JSON Schema at type: 'strin' is not valid under any of the given schemas. See "
            "https://json-schema.org/understanding-json-schema.",
        ),
        ('{"type"', "the JSON Schema is not JSON: Expecting ':' delimiter in line 1, column 8. Mend it there."),
        ("[1]", "the JSON Schema must be an object, not [1]"),
        (
            {"type": "array", "uniqueItems": True},
            "this JSON Schema cannot be enforced: Unimplemented keys: "
            '["uniqueItems"]. Leave that part out and check it afterwards.',
        ),
        (
            {"type": "integer", "minimum": 3, "maximum": 1},
            "this JSON Schema cannot be enforced: Unsatisfiable schema: "
            "minimum (3) is greater than maximum (1). Leave that part out and check it afterwards.",
        ),
        (
            {"type": "string", "pattern": "a(?=b)"},
            "this JSON Schema cannot be enforced: look-around, including look-ahead "
            "and look-behind, is not supported. Leave that part out and check it afterwards.",
        ),
    ],
)
def test_bad_schemas(schema: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        json_schema_constraint(schema)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(a", "invalid regular expression '(a': missing ), unterminated subpattern at position 0. Mend it."),
        (
            r"(a)\1",
            r"the regular expression '(a)\\1' cannot be enforced: backreferences are not supported. Write it without "
            "look-around and back-references.",
        ),
    ],
)
def test_bad_expressions(pattern: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        regex_constraint(pattern)
    assert str(caught.value) == message


def test_a_tokenizer_without_an_end(tokenizer: PreTrainedTokenizerFast) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="the tokenizer has no end token"):
        ConstraintEngine(bare)


@pytest.mark.parametrize("name", [name for name in TemplateLibrary().names if name.endswith("structured_output")])
def test_the_shipped_schemas_can_be_enforced(name: str, engine: ConstraintEngine) -> None:
    schema = TemplateLibrary().get(name).schema
    assert schema is not None
    assert not engine.start(json_schema_constraint(schema)).complete
