"""From answers to code, and from code to verdicts, with a model that says what it was told to."""

import ast
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import bootstrap_interval, wilson_interval
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Message, Prompt
from text_generation.code_generator import CodeGenerator, findings_text, syntax_valid_rate
from text_generation.coding.commands import run_code, run_pass_at_k
from text_generation.coding.evaluation import judge_problems, score
from text_generation.coding.extraction import Extraction, complete_function, complete_statements, extract_code
from text_generation.coding.problems import Problem, built_in_problems
from text_generation.coding.prompts import CodeRequest, chat_prompt, completion_start
from text_generation.coding.review import review_facts
from text_generation.coding.sandbox import Sandbox
from text_generation.coding.verifier import Verifier
from text_generation.config.backend import BackendConfig
from text_generation.config.coding import CodeConfig, PassAtKConfig, ProblemsConfig, SandboxConfig
from text_generation.text_generator import TextGenerator

UNTIMED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox's layers are Linux's")
DOUBLE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("answer", "code", "intact"),
    [
        (f"Sure!\n```python\n{DOUBLE}```\nIt doubles.", DOUBLE, True),
        (f"```\n{DOUBLE}```", DOUBLE, True),
        (f"~~~py\n{DOUBLE}~~~", DOUBLE, True),
        ("1. So:\n   ```python\n   def double(x):\n       return 2 * x\n   ```\n", DOUBLE, True),
        (f"```python\r\n{DOUBLE}```".replace("\n", "\r\n").replace("\r\r", "\r"), DOUBLE, True),
        (f"```python\n{DOUBLE}", DOUBLE, True),
        (f"```python\n{DOUBLE}\ndef other(y):\n    return (y +", DOUBLE, False),
        (f"```sh\npip\n```\n```python\n{DOUBLE}```\n```python\nprint(double(1))\nprint()\nprint()\n```", DOUBLE, True),
        (f"Here it is:\n{DOUBLE}\nThis function doubles its argument.", DOUBLE, False),
        (DOUBLE, DOUBLE, True),
        ("I cannot do that.", "", False),
        ("", "", False),
        ("```python\nthis is no code\n```", "", False),
    ],
)  # fmt: skip
def test_code_in_an_answer(answer: str, code: str, intact: bool) -> None:
    found = extract_code(answer, "double")
    assert found == Extraction(code, intact)


def test_the_last_block_that_defines_the_function_is_taken() -> None:
    first, last = "def f():\n    return 1\n", "def f():\n    return 2\n"
    answer = f"```python\n{first}```\nBetter:\n```python\n{last}```\n```python\n# usage\nprint(f(), f(), f(), f())\n```"
    assert extract_code(answer, "f").code == last


@UNTIMED
@given(st.integers(0, 200))
def test_a_cut_tail_leaves_the_longest_valid_run_of_lines(length: int) -> None:
    body = '    """Doc."""\n    if a:\n        return [\n            1,\n        ]\n    return {"a": 2}\n'
    source = f"import os\n\ndef f(a):\n{body}"
    cut = source[:length]
    lines = cut.split("\n")

    def valid(text: str) -> bool:
        try:
            ast.parse(text)
        except SyntaxError:
            return False
        return True

    longest = next(
        "\n".join(lines[:n]).rstrip() for n in range(len(lines), -1, -1) if valid("\n".join(lines[:n]).rstrip())
    )
    assert complete_statements(cut).rstrip() == longest


@UNTIMED
@given(st.text(alphabet="def f(x):\n return'\"#`[]\t1=", max_size=60))
def test_any_text_gives_valid_code_or_none(text: str) -> None:
    for code in (complete_statements(text), extract_code(text).code, extract_code(f"```\n{text}").code):
        ast.parse(code)


def test_a_completion_ends_with_its_function() -> None:
    prompt = 'def f(x):\n    """Add one."""\n'
    whole = f"{prompt}    return x + 1\n"
    assert complete_function(prompt, "    return x + 1\n\ndef g():\n    pass\n", "f") == Extraction(whole, True)
    assert complete_function(prompt, "    return x + 1\n\nprint(f(1", "f") == Extraction(whole, True)
    assert complete_function(prompt, "    y = x + 1\n    return (y", "f") == Extraction(
        f"{prompt}    y = x + 1\n", False
    )
    assert complete_function(prompt, "(((", "f") == Extraction("", False)
    text = f'{prompt}    return """a\nb"""\n'
    assert complete_function(prompt, '    return """a\nb"""\n\nx = 1', "f") == Extraction(text, True)
    assert complete_function("# A sum.\ndef add(", "a, b):\n    return a + b\nadd(1, 2)", "add") == Extraction(
        "# A sum.\ndef add(a, b):\n    return a + b\n", True
    )


def scripted(
    *answers: str, style: str = "chat", verifier: Verifier | None = None
) -> tuple[CodeGenerator, ScriptedBackend]:
    backend = ScriptedBackend(answers)
    return CodeGenerator(TextGenerator(backend), style=style, verifier=verifier), backend  # pyright: ignore[reportArgumentType]


def test_generation_by_chat() -> None:
    coder, backend = scripted(f"```python\n{DOUBLE}```", "no idea")
    request = CodeRequest("twice a number", entry_point="double", examples=("assert double(1) == 2",))
    good, bad = coder.generate_many([request, request])
    assert (good.code, good.syntax_valid) == (DOUBLE, True)
    assert (bad.code, bad.syntax_valid) == ("", False)
    assert syntax_valid_rate([good, bad]) == 0.5
    assert backend.asked == [chat_prompt(request)] * 2
    asked: Prompt = backend.asked[0]
    assert isinstance(asked[-1], Message)
    assert asked[-1].content == (
        "Write a Python function: twice a number\n\nCall it `double`.\n\nIt must satisfy these tests:\n\n"
        "```python\nassert double(1) == 2\n```\n\n"
        "Answer with the complete function, with the imports that it needs, in one ```python block."
    )


def test_what_an_answer_leaves_out_is_added_from_the_request() -> None:
    start = 'import math\n\ndef helper(x):\n    return x\n\ndef area(r):\n    """Area."""\n'
    coder, _ = scripted("```python\ndef area(r):\n    return math.pi * helper(r) ** 2\n```")
    code = coder.generate(CodeRequest(start=start, entry_point="area")).code
    assert code.startswith("import math\ndef helper(x):\n    return x\ndef area(r):\n    return")
    ast.parse(code)


def test_generation_by_completion() -> None:
    coder, backend = scripted("x):\n    return 2 * x\n\n\nclass A:", style="completion")
    request = CodeRequest("Twice a number.", entry_point="double", examples=("assert double(1) == 2",))
    code = coder.generate(request)
    assert code.code == "# Twice a number.\n# assert double(1) == 2\ndef double(x):\n    return 2 * x\n"
    assert code.syntax_valid
    assert backend.asked == [completion_start(request)] == ["# Twice a number.\n# assert double(1) == 2\ndef double("]
    assert completion_start(CodeRequest("Any.")) == "# Any.\ndef "
    free, _ = scripted("add(a, b):\n    return a + b\n", style="completion")
    assert free.generate(CodeRequest("Add.")).code == "def add(a, b):\n    return a + b\n"


def test_the_rate_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^the rate of no answers is not defined$"):
        syntax_valid_rate([])


def test_explanation_and_review_keep_facts_and_prose_apart() -> None:
    coder, backend = scripted(" It doubles. ", "Fine.")
    assert coder.explain(DOUBLE) == "It doubles."
    review = coder.review(DOUBLE, prose=True)
    assert review.prose == "Fine."
    assert findings_text(review.facts) == "line 1: double: complexity 1, without a docstring and types"
    assert findings_text(review.facts) in str(backend.asked[-1])
    assert coder.review("def f(:").prose is None
    assert findings_text(review_facts("def f(:")) == "syntax error: line 1: invalid syntax"


@on_linux
def test_tests_are_run_before_they_are_shown() -> None:
    asserts = "assert double(2) == 4\nassert double(2) == 5\nassert 1 == 1\n"
    answer = f"```python\n{asserts}def test_neg():\n    assert double(-1) == -2\n```"
    coder, _ = scripted(answer)
    tests = coder.write_tests(DOUBLE)
    assert [(test.source, test.passed) for test in tests] == [
        ("assert double(2) == 4", True),
        ("assert double(2) == 5", False),
        ("def test_neg():\n    assert double(-1) == -2\ntest_neg()", True),
    ]
    assert tests[1].verdict.detail == "4 == 5 is false"
    with pytest.raises(UserError, match=r"^tests need code that is valid Python and defines a function or a class$"):
        coder.write_tests("x = 1")


def two_problems() -> list[Problem]:
    return [problem for problem in built_in_problems().problems if problem.entry_point in ("is_leap_year", "flatten")]


def body(problem: Problem, program: str) -> str:
    return program.removeprefix(problem.prompt)


def answers() -> list[str]:
    """Three for each problem: right, wrong, no Python; then wrong, wrong, right."""
    first, second = two_problems()
    assert first.solution is not None
    assert second.solution is not None
    wrong = [body(one, one.wrong_solutions[0]) for one in (first, second)]
    return [
        *(body(first, first.solution), wrong[0], "    return (("),
        *(wrong[1], wrong[1], body(second, second.solution)),
    ]


@on_linux
def test_a_problem_that_fills_the_context_counts_as_unsolved(tmp_path: Path) -> None:
    first, second = two_problems()
    backend = ScriptedBackend([])
    sizes = [backend.count_tokens(completion_start(CodeRequest.of(problem))) for problem in (first, second)]
    short, long = (second, first) if sizes[0] > sizes[1] else (first, second)
    backend = ScriptedBackend(["    return (("], context_window=max(sizes))
    verifier = Verifier(Sandbox(SandboxConfig(cpu_seconds=2)))
    coder = CodeGenerator(TextGenerator(backend), style="completion", verifier=verifier)
    judged = judge_problems([long, short], coder, verifier, tmp_path / "samples.jsonl")
    assert [one.status for one in judged] == ["no_room", "syntax"]
    assert judged[0].detail == "the problem fills the model's context"
    assert (judged[0].n_passed, judged[0].n_tests) == (0, len(long.tests))
    assert score(judged, [1]).n_problems == 2


@on_linux
def test_problems_are_judged_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    verifier = Verifier(Sandbox(SandboxConfig(cpu_seconds=2)))
    path = tmp_path / "samples.jsonl"

    def judge(*texts: str) -> list[str]:
        coder, _ = scripted(*texts, style="completion", verifier=verifier)
        judged = judge_problems(two_problems(), coder, verifier, path, n=3, batch_size=3)
        return [one.status for one in judged]

    expected = ["passed", "wrong", "syntax", "wrong", "wrong", "passed"]
    assert judge(*answers()) == expected
    whole = path.read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row["sample"] for row in rows] == [0, 1, 2, 0, 1, 2]
    assert judge() == expected  # nothing is left to do, so nothing is asked
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[:4]) + lines[4][:30])  # killed while the second group was written
    assert judge(*answers()[3:]) == expected
    again = [json.loads(line) | {"cpu_seconds": 0} for line in path.read_text().splitlines()]
    assert again == [row | {"cpu_seconds": 0} for row in rows]

    samples = judge_problems(two_problems(), scripted()[0], verifier, path, n=3, batch_size=3)
    scores = score(samples, [1, 2, 3])
    assert {k: interval.estimate for k, interval in scores.pass_at.items()} == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 1})
    assert scores.syntax_valid.estimate == pytest.approx(5 / 6)
    assert scores.pass_at[3] == wilson_interval(2, 2)
    assert scores.syntax_valid == bootstrap_interval([2 / 3, 1.0])
    assert scores.statuses == {"wrong": 3, "passed": 2, "syntax": 1}
    with pytest.raises(UserError) as caught:
        judge_problems(two_problems()[::-1], scripted()[0], verifier, path, n=3, batch_size=3)
    assert str(caught.value) == (
        f"{path} line 1 is sample 0 of built-in/flatten, where sample 0 of built-in/is_leap_year is expected: the file "
        "belongs to other problems. Write to another one."
    )
    path.write_text("{}\n")
    with pytest.raises(UserError) as caught:
        judge_problems(two_problems(), scripted()[0], verifier, path)
    assert str(caught.value) == f"{path} line 1 is no sample. Remove it and what follows, or start anew."


@on_linux
def test_the_command_pass_at_k(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.txt"
    script.write_text("    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)\n")
    rows = [{"task_id": one.task_id, "prompt": one.prompt, "entry_point": one.entry_point,
             "test": "def check(candidate):\n    " + "\n    ".join(one.tests)} for one in two_problems()]  # fmt: skip
    data = tmp_path / "he.jsonl"
    data.write_text("{\n" + "\n".join(map(json.dumps, rows)))
    config = PassAtKConfig(
        run=RunConfig(root=tmp_path / "runs"),
        data=ProblemsConfig(path=data),
        backend=BackendConfig(kind="scripted", model=str(script)),
    )
    summary = run_pass_at_k(config)
    figures = {name: summary[name] for name in ("pass_at_1", "syntax_valid", "n_problems", "n_rejected")}
    assert figures == {"pass_at_1": 0.5, "syntax_valid": 1.0, "n_problems": 2, "n_rejected": 1}
    assert "passed over: he.jsonl:1: no JSON" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "text_generation").glob("*-run")
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 2
    assert "pass@1" in (folder / "report.html").read_text()


@on_linux
def test_the_command_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, file = tmp_path / "script.txt", tmp_path / "code.py"
    script.write_text("def half(x): return x / 2\nassert double(1) == 3\n")
    file.write_text(DOUBLE)
    backend = BackendConfig(kind="scripted", model=str(script))
    run_code(CodeConfig(description="half a number", backend=backend))
    assert capsys.readouterr().out == "def half(x): return x / 2\n"
    run_code(CodeConfig(task="review", file=file))
    assert capsys.readouterr().out == "line 1: double: complexity 1, without a docstring and types\n"
    run_code(CodeConfig(task="explain", file=file, backend=backend))
    assert capsys.readouterr().out == "def half(x): return x / 2\n"
    script.write_text("assert double(1) == 3\n")
    run_code(CodeConfig(task="tests", file=file, backend=backend))
    assert capsys.readouterr().out == "# fails: 2 == 3 is false\nassert double(1) == 3\n"
    run_code(CodeConfig(task="check"))
    assert "limits: holds\n" in capsys.readouterr().out.splitlines(keepends=True)[-1]
    with pytest.raises(UserError, match=r"--file .*missing.py: No such file or directory$"):
        run_code(CodeConfig(task="review", file=tmp_path / "missing.py"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, 'say what the function does, as in: code "the median of a list of numbers"'),
        ({"task": "review"}, "--task review needs --file code.py"),
        ({"description": "x", "name": "a b"}, "--name 'a b' is no Python name"),
        ({"description": "x", "n_tests": 0}, "--n_tests 0 must be at least 1"),
    ],
)
def test_settings_of_code(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        CodeConfig(**settings)  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "--samples 0 must be at least 1"),
        ({"samples": 2, "k": (1, 3)}, "--k 1 3 must lie between 1 and --samples 2"),
        ({"workers": 0}, "--workers 0 must be at least 1"),
    ],
)
def test_settings_of_pass_at_k(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        PassAtKConfig(**settings)  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == message
