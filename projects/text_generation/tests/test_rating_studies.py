"""Studies and their keys: every pair once, balanced, blind, and clear about damage."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text_generation.evaluation.rating.making import Output, make_study, read_outputs, write_study
from text_generation.evaluation.rating.study import key_path, read_key, read_study

from .rating_studies import SYSTEMS, error_of, outputs, written_study


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    return written_study(tmp_path)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(2, 4), st.integers(0, 5), st.none() | st.integers(1, 30))
def test_every_pair_once_a_prompt_with_balanced_sides(n_prompts, n_systems, seed, max_items):
    systems = [f"s{n}" for n in range(n_systems)]
    draft = make_study("s", outputs(n_prompts, systems), seed=seed, max_items=max_items)
    total = n_prompts * n_systems * (n_systems - 1) // 2
    assert len(draft.study.items) == min(total, max_items or total)
    text_of = {(output.prompt, output.system): output.text for output in outputs(n_prompts, systems)}
    sides = Counter(draft.key.authors.values())
    comparisons = set()
    for item in draft.study.items:
        first, second = draft.key.authors[item.item]
        assert item.first == text_of[item.prompt, first]
        assert item.second == text_of[item.prompt, second]
        comparisons.add((item.prompt, frozenset((first, second))))
    assert len(comparisons) == len(draft.study.items)
    by_pair = Counter(frozenset(pair) for pair in draft.key.authors.values())
    assert max(by_pair.values()) - min([*by_pair.values(), n_prompts]) <= 1 or max_items is None or len(by_pair) < 2
    for first, second in sides:
        assert abs(sides[first, second] - sides[second, first]) <= 1


def test_the_same_seed_makes_the_same_study():
    assert make_study("s", outputs(), seed=3) == make_study("s", outputs(), seed=3)
    assert make_study("s", outputs(), seed=3).study.fingerprint != make_study("s", outputs(), seed=4).study.fingerprint


def test_the_study_file_names_no_system(study_path: Path):
    content = study_path.read_text("utf-8")
    assert not any(name in content for name in SYSTEMS)
    study = read_study(study_path)
    assert (study.name, study.question, study.style, len(study.items)) == (
        "stories", "Which text is better?", "prose", 21,
    )  # fmt: skip
    assert study == make_study("stories", outputs()).study
    assert read_key(key_path(study_path), study) == make_study("stories", outputs()).key


def test_any_change_changes_the_fingerprint(study_path: Path):
    before = read_study(study_path).fingerprint
    study_path.write_text(study_path.read_text("utf-8").replace("text 3.1", "text 3,1"), "utf-8")
    assert read_study(study_path).fingerprint != before
    assert error_of(read_key, key_path(study_path), read_study(study_path)) == (
        f"{key_path(study_path)}: is the key of study {before}, not of this one ({read_study(study_path).fingerprint})"
    )


def test_raters_get_their_own_order_and_sides(study_path: Path):
    study = read_study(study_path)
    assert study.order("ann") == study.order("ann") != study.order("bob")
    assert sorted(study.order("ann"), key=lambda item: item.item) == list(study.items)
    assert {study.swapped(f"rater {n}") for n in range(20)} == {True, False}


def test_equal_texts_are_left_out():
    same = [Output("p", "x", "equal"), Output("p", "y", "equal"), Output("p", "z", "other")]
    draft = make_study("s", same)
    assert (len(draft.study.items), draft.n_identical) == (2, 1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "nothing to compare: no prompt has different texts of two systems (found: none)"),
        ([Output("p", "x", "a"), Output("q", "y", "b")],
         "nothing to compare: no prompt has different texts of two systems (found: x, y)"),
        ([Output("p", "x", "a"), Output("p", "x", "b")], "system 'x' has two texts for the prompt 'p': keep one"),
    ],
)  # fmt: skip
def test_nothing_to_compare(texts, message):
    assert error_of(make_study, "s", texts) == message


def test_a_study_is_never_written_over(study_path: Path):
    assert error_of(write_study, make_study("s", outputs()), study_path) == (
        f"{study_path}: exists. To rate that study, leave --outputs out; to make one, name another"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "{path}: has no items. Make a study with rate --outputs FILE"),
        ('{"prompt": "p", "system": "s", "text": "t"}\n',
         "{path}:1: no study file. Make one with rate --outputs FILE"),
        ('{"question": "q", "style": "prose"}\n{"item": "1"\n',
         "{path}:2: broken JSON (Expecting ',' delimiter): restore the file, for its votes refer to it as it was"),
        ('{"question": "q", "style": "prose"}\n{"item": "1", "prompt": "p", "first": "a"}\n',
         "{path}:2: an item needs item, prompt, first and second, each a text"),
        ('{"question": "q", "style": "prose"}\n' + '{"item": "1", "prompt": "p", "first": "a", "second": "b"}\n' * 2,
         "{path}: item '1' occurs twice"),
    ],
)  # fmt: skip
def test_damaged_studies(tmp_path: Path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(content, "utf-8")
    assert error_of(read_study, path) == message.format(path=path)


@pytest.mark.parametrize("content", ["", "[]", '{"study": "x"}', '{"study": "x", "systems": [], "authors": {"1": 2}}'])
def test_damaged_keys(study_path: Path, content):
    key_path(study_path).write_text(content, "utf-8")
    assert error_of(read_key, key_path(study_path), read_study(study_path)) == (
        f"{key_path(study_path)}: is no key file, or damaged: it comes with the study"
    )


def test_outputs_that_cannot_be_used_are_named(tmp_path: Path):
    path = tmp_path / "outputs.jsonl"
    good = {"prompt": "p", "system": "x", "text": "t", "more": 1}
    bad = ["{", "[1]", '{"prompt": "p"}', json.dumps(good), json.dumps({**good, "system": " "}), '"\\ud800"']
    path.write_text("\n".join([json.dumps(good), "", *bad, json.dumps({**good, "system": "y"})]), "utf-8")
    found, rejects = read_outputs(path)
    assert found == [Output("p", "x", "t"), Output("p", "y", "t")]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (3, "broken JSON (Expecting property name enclosed in double quotes)"),
        (4, "no JSON object"),
        (5, "system and text must be there, and a text"),
        (6, "the same prompt and system as in line 1"),
        (7, "system is empty"),
        (8, "half of a surrogate pair, which has no UTF-8 form"),
    ]
    path.write_text("{}", "utf-8")
    assert error_of(read_outputs, path) == (
        f"{path}: has no line with prompt, system and text ({path}:1: prompt and system and text must be there, and a "
        "text)"
    )
    missing = tmp_path / "missing.jsonl"
    assert error_of(read_outputs, missing) == f"{missing}: cannot be read (No such file or directory)"
