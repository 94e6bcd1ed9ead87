"""What the studies of a run ask, and that one which cannot be held stops none of the others.

That all of them run with a real model and end up in the report is seen in `test_run.py`.
"""

import ast
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from roadmap_shared.errors import UserError
from roadmap_shared.report import Section, Text
from text_generation.config import EvaluationConfig
from text_generation.config.evaluation import DefenceName, StudyName
from text_generation.corpora.stories.writer import write_story
from text_generation.corpora.types import Corpus, Document
from text_generation.prompting.injection_cases import BUILT_IN, read_injections
from text_generation.prompting.injection_defences import built_in_defences
from text_generation.prompting.injection_detector import fit_detector
from text_generation.studies import running
from text_generation.studies.functions import function_beginnings, function_case, function_cases
from text_generation.studies.prompting import told_ending, without_indentation
from text_generation.studies.stories import brief_of
from text_generation.studies.structure import STORY_SCHEMA, figures
from text_generation.studies.types import NotApplicableError, Study
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


def test_figures_of_a_constraint_count_whole_texts_apart():
    text = SimpleNamespace(complete=True, tokens=(1, 2), seconds=2.0)
    cut = SimpleNamespace(complete=False, tokens=(1, 2), seconds=2.0)
    cost: Any = SimpleNamespace(
        free=(text, text),
        free_valid=(True, False),
        constrained=(text, cut),
        constrained_valid=(True, False),
        forbidden_nats_per_token=0.5,
        tokens_per_second=lambda texts: sum(len(each.tokens) for each in texts) / sum(each.seconds for each in texts),
    )
    assert figures(cost, "json") == {
        "json_valid_free": 0.5,
        "json_valid_constrained": 0.5,
        "json_valid_of_ended_constrained": 1.0,
        "json_forbidden_nats_per_token": 0.5,
        "json_tokens_per_second_free": 1.0,
        "json_tokens_per_second_constrained": 1.0,
    }


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
