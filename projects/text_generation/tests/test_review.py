"""Facts about code, each against a piece of code in which it can be seen."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from radon.complexity import cc_visit

from roadmap_shared.errors import UserError
from text_generation.coding.review import Facts, Finding, FunctionFacts, function_facts, review_facts

CODE = '''\
import pickle

class Stack:
    """Items."""

    def push(self, item: int, *more: int) -> None:
        """Put items on top."""
        for one in (item, *more):
            if one and item:
                self.items.append(one)

def load(data, cache=[]):  # noqa
    try:
        return pickle.loads(data)  # nosec
    except:
        pass
'''


@pytest.fixture(scope="module")
def facts() -> Facts:
    return review_facts(CODE)


def test_functions(facts: Facts) -> None:
    assert facts.functions == (
        FunctionFacts("Stack.push", 6, 5, 3, True, True, 4),
        FunctionFacts("load", 12, 5, 2, False, False, 2),
    )
    assert (facts.syntax_error, facts.n_lines, facts.imports) == (None, 16, ("pickle",))


def test_complexity_is_that_of_radon_on_a_whole_file() -> None:
    source = Path(shutil.__file__).read_text("utf-8")
    ours = {(one.name, one.line): one.complexity for one in function_facts(ast.parse(source)) if "." not in one.name}
    theirs = {(one.name, one.lineno): one.complexity for one in cc_visit(source) if one.letter == "F"}
    assert len(theirs) > 30
    shared = ours.keys() & theirs.keys()
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    assert len(shared) >= len(theirs) - 2


def test_findings_cannot_be_switched_off_by_comments(facts: Facts) -> None:
    found = {(one.tool, one.code, one.line) for one in facts.findings}
    assert found >= {("ruff", "B006", 12), ("ruff", "E722", 15), ("bandit", "B301", 14), ("bandit", "B110", 15)}
    assert [one.line for one in facts.findings] == sorted(one.line for one in facts.findings)
    severities = {one.code: one.severity for one in facts.findings}
    assert (severities["B006"], severities["B301"]) == ("low", "medium")
    assert 0 <= (facts.maintainability or -1) <= 100


def test_an_undefined_name_weighs_more() -> None:
    findings = review_facts("def f():\n    return unknown\n").findings
    assert findings == (Finding("ruff", "F821", 2, "medium", "Undefined name `unknown`"),)


def test_code_that_is_no_python() -> None:
    assert review_facts("x = 1\ndef f(:\n    pass") == Facts("line 2: invalid syntax", 3)
    assert review_facts("a\0b").syntax_error == "source code string cannot contain null bytes"
    assert review_facts("-" * 100_000 + "1").syntax_error is not None


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert review_facts("x = 1\n").findings == ()
    assert list(tmp_path.iterdir()) == []


def test_code_that_is_too_long() -> None:
    with pytest.raises(UserError) as caught:
        review_facts("x = 1\n" * 100_000)
    assert str(caught.value) == "the code has 600,000 characters; a review takes at most 500,000"


def test_a_tool_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("ruff", 60)

    monkeypatch.setattr("subprocess.run", hang)
    with pytest.raises(UserError) as caught:
        review_facts("x = 1\n")
    assert str(caught.value) == "ruff did not end within 60 s on this code. Review a smaller piece."
