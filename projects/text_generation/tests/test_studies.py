"""What the studies of a run ask, and that one which cannot be held stops none of the others.

That all of them run with a real model and end up in the report is seen in `test_run.py`.
"""

import ast
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from roadmap_shared.report import Section, Table, Text
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.scripted import ScriptedBackend
from text_generation.config import EvaluationConfig
from text_generation.config.evaluation import DefenceName, StudyName
from text_generation.corpora.stories.fields import ENDINGS, MOODS, THEMES
from text_generation.corpora.stories.writer import write_story
from text_generation.corpora.types import Corpus, Document
from text_generation.prompting.constrained_cost import ConstrainedText, ConstraintCost
from text_generation.prompting.constrained_decoding import ConstraintEngine
from text_generation.prompting.injection_cases import BUILT_IN, read_injections
from text_generation.prompting.injection_defences import built_in_defences
from text_generation.prompting.injection_detector import fit_detector
from text_generation.prompting.search_types import Candidate
from text_generation.prompting.sections import constraint_section
from text_generation.prompting.structured import json_schema_constraint
from text_generation.studies import running
from text_generation.studies.functions import function_beginnings, function_case, function_cases
from text_generation.studies.prompting import injection, told_ending, without_indentation
from text_generation.studies.search import search, task
from text_generation.studies.stories import brief_of, writing
from text_generation.studies.structure import JSON_TOKENS, REVIEW_SCHEMA, STORY_SCHEMA, figures, json_output
from text_generation.studies.types import Bench, NotApplicableError, Study
from text_generation.training.chat_data_stories import fresh_fields

HALF = '''def half(number):
    """Half of a number.

    Rounded down.
    """
    whole = number // 2
    return whole
'''
TWICE = 'def twice(x):\n    """Twice x."""\n    return 2 * x\n'
WIDE = 'def wide(\n    x,\n):\n    """Wide."""\n    return x\n'
SILENT = 'def silent(x):\n    """\n    """\n    return x\n'
DECORATED = '@cache\ndef slow(x):\n    """Slow."""\n    return x\n'


def corpus_of(*texts: str) -> Corpus:
    documents = tuple(Document(text, "function", f"m:{i}", "package m") for i, text in enumerate(texts))
    return Corpus(documents[:1], documents, "some functions")


def test_a_function_is_cut_into_signature_description_and_body():
    case = function_case(corpus_of(HALF).validation[0])
    assert case is not None
    assert case.variables == {"signature": "def half(number):", "description": "Half of a number."}
    assert case.reference == "    whole = number // 2\n    return whole"
    program = f"{case.variables['signature']}\n{case.reference}\n"
    assert ast.dump(ast.parse(program).body[0]) == ast.dump(ast.parse(without_docstring(HALF)).body[0])


def without_docstring(source: str) -> str:
    tree = ast.parse(source)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = function.body[1:]
    return ast.unparse(tree)


def test_what_is_no_plain_signature_is_left_out():
    cases = function_cases(corpus_of(WIDE, SILENT, DECORATED, TWICE))
    assert [case.variables["signature"] for case in cases] == ["def twice(x):"]
    assert function_cases(corpus_of(WIDE, TWICE), train=True) == []


def test_beginnings_end_at_the_docstring_and_go_on_with_a_line_break():
    (beginning,) = function_beginnings(corpus_of(HALF, TWICE, WIDE), 5)
    assert beginning == 'def twice(x):\n    """Twice x."""'
    assert TWICE.startswith(f"{beginning}\n    ")


def test_an_example_stands_at_the_margin():
    assert without_indentation("    if x:\n        y = 1\n    return y") == "if x:\n    y = 1\nreturn y"


@pytest.mark.parametrize("ending", ["happy", "sad", "lesson"])
def test_the_ending_of_a_built_in_story_is_read_off(ending: Any):
    fields = replace(fresh_fields(1, seed=3)[0], ending=ending)
    assert told_ending(write_story(fields, 4).text) == ending
    assert told_ending("Mira went home.") is None


def test_a_brief_asks_for_the_same_as_the_header():
    fields = fresh_fields(1, seed=5)[0]
    assert brief_of(fields).story_fields == fields


def test_the_names_in_the_config_are_those_of_the_studies_and_defences():
    assert set(running.STUDIES) == set(get_args(StudyName))
    cases, _ = read_injections(BUILT_IN)
    assert set(built_in_defences(fit_detector(cases))) == set(get_args(DefenceName))
    assert set(STORY_SCHEMA["required"]) == set(STORY_SCHEMA["properties"])


def test_a_study_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch):
    def impossible(bench: Any) -> Study:
        raise NotApplicableError("the corpus has no functions")

    def weak(bench: Any) -> Study:
        raise UserError("the sandbox lacks a network namespace")

    def fine(bench: Any) -> Study:
        return Study([Section("Fine", [Text("It works.")])], {"share": 1.0})

    monkeypatch.setattr(running, "STUDIES", {"python": impossible, "code": weak, "templates": fine, "voting": fine})
    bench: Any = SimpleNamespace(sizes=EvaluationConfig(studies=("templates", "code", "python")))
    finished = running.run_studies(bench)
    assert [(one.name, one.why_not) for one in finished] == [
        ("python", "the corpus has no functions"),
        ("code", "the sandbox lacks a network namespace"),
        ("templates", ""),
    ]
    assert [one.study.figures if one.study else None for one in finished] == [None, None, {"share": 1.0}]


def bench_of(backend: Any, **given: Any) -> Any:
    """What the studies look at, without a run."""
    usual = {
        "backend": backend,
        "corpus": corpus_of(TWICE),
        "obedience": None,
        "run": SimpleNamespace(seed=0),
        "sizes": EvaluationConfig(cases=3),
        "is_built_in": False,
        "follows_instructions": False,
    }
    bench: Any = SimpleNamespace(**{**usual, **given})
    bench.has_room = partial(Bench.has_room, bench)
    return bench


def byte_model() -> HuggingFaceBackend:
    """A random GPT-2 with a token for each byte: no tokenizer takes more tokens for a text."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=257, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(["a"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>")
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=257, n_positions=256, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    return HuggingFaceBackend(GPT2LMHeadModel(shape).eval(), tokenizer)


LONGEST = [
    (STORY_SCHEMA, {"theme": max(THEMES, key=len), "hero": "A" + 11 * "b", "mood": max(MOODS, key=len),
                    "ending": max(ENDINGS, key=len)}),
    (REVIEW_SCHEMA, {"sentiment": "positive", "reason": "A" + 39 * "b"}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "longest"), LONGEST)
def test_the_longest_json_text_has_fewer_bytes_than_there_may_be_tokens(schema: dict[str, Any], longest: Any):
    constraint = json_schema_constraint(schema)
    text = json.dumps(longest, separators=(",", ":"))
    assert constraint.is_valid(text)
    assert len(text) < JSON_TOKENS
    # One letter more is no text of the schema, and no letter is written as an escape, which takes more bytes.
    name = "hero" if "hero" in longest else "reason"
    assert not constraint.is_valid(json.dumps({**longest, name: longest[name] + "b"}))
    state = ConstraintEngine(byte_model().tokenizer).start(constraint)
    backend = byte_model()
    for token in backend.tokenizer(text[: text.index("Abb")])["input_ids"]:
        state.push(token)
    assert not state.allowed(257)[backend.tokenizer("\\")["input_ids"][0]]


def test_every_constrained_json_text_is_valid():
    fields = tuple(fresh_fields(8, seed=1))
    bench = bench_of(byte_model(), obedience=SimpleNamespace(fields=fields), sizes=EvaluationConfig(cases=8))
    assert json_output(bench).figures["json_valid_constrained"] == 1.0
    study = json_output(bench_of(byte_model(), sizes=EvaluationConfig(cases=8)))
    assert study.figures["json_valid_constrained"] == 1.0
    table = study.sections[0].blocks[0]
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [["free", "0 of 8"], ["constrained", "8 of 8"]]


def test_figures_of_a_constraint_count_whole_texts_apart():
    whole = ConstrainedText("    return x\n", (1, 2), complete=True, logprob=-1.0, forbidden_nats=0.0, seconds=2.0)
    cut = replace(whole, text="    retu", complete=False, forbidden_nats=2.0)
    valid = (True, False)
    cost = ConstraintCost("python", (whole, cut), (whole, cut), valid, valid, valid, (True, True))
    found = {
        "function_valid_free": 0.5,
        "function_valid_constrained": 0.5,
        "function_valid_of_ended_constrained": 1.0,
        "function_valid_free_cut": 0.5,
        "function_valid_constrained_cut": 1.0,
        "function_forbidden_nats_per_token": 0.5,
        "function_tokens_per_second_free": 1.0,
        "function_tokens_per_second_constrained": 1.0,
    }
    assert figures(cost, "function") == found
    table = constraint_section(cost, "Python functions").blocks[0]
    assert isinstance(table, Table)
    assert table.columns[1:3] == ["valid as it stands", "valid, cut to its last whole statement"]
    assert [row[:4] for row in table.rows] == [
        ["free", "1 of 2", "1 of 2", "1 of 2"],
        ["constrained", "1 of 2", "2 of 2", "1 of 2"],
    ]


def numbered(count: int) -> list[str]:
    return [f'def f{i}(x):\n    """Add {i}."""\n    return x + {i}\n' for i in range(count)]


def test_the_search_finds_the_comment_and_the_example_that_help():
    def nats(prompt: Any, text: str) -> float:
        helps = str(prompt).startswith("# A short function in plain Python.\n\ndef clamp(")
        return len(text) * (1.0 if helps and "count_words" not in str(prompt) else 2.0)

    backend = ScriptedBackend([], likelihood=nats)
    study = search(bench_of(backend, corpus=corpus_of(*numbered(8)), sizes=EvaluationConfig(cases=4)))
    assert study.figures["search_gain"] == pytest.approx(1.0)
    assert study.figures["search_winner_examples"] == 1
    table = study.sections[0].blocks[1]
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == ["(none)", "# A short function in plain Python."]


def test_the_prompts_of_the_search_are_functions_one_below_the_other():
    prompts, cases, _ = task(bench_of(None, corpus=corpus_of(*numbered(2))))
    assert prompts(Candidate(""), cases[0]) == 'def f0(x):\n    """Add 0."""'
    prompt = prompts(Candidate("# Sums."), cases[0])
    assert prompt == '# Sums.\n\ndef f0(x):\n    """Add 0."""'
    shown = prompts(Candidate("# Sums.", 2), cases[0])
    assert isinstance(shown, str)
    ast.parse(f"{shown}\n{cases[0].reference}")
    assert shown.count("\n\n\ndef ") == 2


def test_reviews_are_searched_where_there_are_no_functions():
    def nats(prompt: Any, text: str) -> float:
        assert text in (" positive", " negative")
        return len(text) * (1.0 if "Label each review." in str(prompt) else 2.0)

    corpus = Corpus((Document("a", "text", "m:0", "m"),), (), "texts")
    study = search(bench_of(ScriptedBackend([], likelihood=nats), corpus=corpus))
    assert study.figures["search_gain"] == pytest.approx(1.0)
    cramped = ScriptedBackend([], likelihood=nats, context_window=20)
    with pytest.raises(NotApplicableError, match=r"^the prompts do not fit into a context of 20 tokens$"):
        search(bench_of(cramped, corpus=corpus))


def test_defences_that_fill_the_context_are_left_out_of_the_lab():
    backend = ScriptedBackend(["No."], repeat=True, context_window=90)
    study = injection(bench_of(backend, sizes=EvaluationConfig()))
    table = study.sections[0].blocks[2]
    assert isinstance(table, Table)
    tried = [row[0] for row in table.rows]
    left_out = [name for name in get_args(DefenceName) if name not in tried]
    assert tried[0] == "none"
    assert left_out
    assert table.caption.endswith(f"fit into the context: {', '.join(left_out)}.")
    assert 2 <= study.figures["delimiting_cases"] < study.figures["none_cases"]
    with pytest.raises(NotApplicableError, match=r"^the prompts do not fit into a context of 25 tokens$"):
        injection(bench_of(ScriptedBackend([], context_window=25)))


def test_a_model_that_follows_instructions_is_asked_for_stories_in_plain_words(tmp_path: Path):
    fields = tuple(fresh_fields(3, seed=2))

    def answer(prompt: Any) -> str:
        text = prompt[-1].content
        if "plot points" in text and "Title: ..." in text:
            return "Title: A Story\n1. It begins.\n2. It ends."
        asked = next((each for each in fields if f"Hero: {each.hero}" in text), fields[0])
        return f"{asked.hero} was here. The end."

    backend = ScriptedBackend(answer)
    bench = bench_of(
        backend,
        obedience=SimpleNamespace(fields=fields),
        follows_instructions=True,
        run=SimpleNamespace(seed=0, folder=tmp_path),
    )
    study = writing(bench)
    assert study.figures["assistant_hero"] == study.figures["baseline_assistant_hero"] == 1.0
    assert "assistant_mood" not in study.figures  # in free texts no program tells the mood
    assert any(f"- Ending: {fields[0].ending}" in prompt[0].content for prompt in backend.asked)  # type: ignore[union-attr]
    assert len((tmp_path / "assistant.jsonl").read_text().splitlines()) == 3
    for without, message in (
        ({"follows_instructions": True}, "the corpus has no stories with headers"),
        ({}, "it needs a model that was trained here on the built-in stories"),
    ):
        with pytest.raises(NotApplicableError, match=f"^{message}$"):
            writing(bench_of(backend, **without))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cases": 1}, "--evaluation.cases 1 must be at least 2"),
        ({"problems": 0}, "--evaluation.problems 0 must be at least 1"),
        ({"pairs": 2}, "--evaluation.pairs 2 must be at least 4"),
        ({"defences": ()}, "--evaluation.defences is empty: name one, such as none"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError) as raised:
        EvaluationConfig(**settings)
    assert str(raised.value) == message
