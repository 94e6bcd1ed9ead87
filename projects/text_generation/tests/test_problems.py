"""Problem files, good and bad, and the built-in set."""

import gzip
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from roadmap_shared.errors import UserError
from text_generation.coding.problems import Rejected, built_in_problems, load_problems
from text_generation.coding.sandbox import Sandbox
from text_generation.coding.verifier import Verifier
from text_generation.config.coding import SandboxConfig

HUMANEVAL: dict[str, Any] = {
    "task_id": "Test/0",
    "prompt": (
        "import math\n\ndef double(x):\n    return 2 * x\n\n"
        'def area(r: float) -> float:\n    """Area of a circle.\n    """\n'
    ),
    "entry_point": "area",
    "canonical_solution": "    return math.pi * r * r\n",
    "test": (
        "def check(candidate):\n    assert abs(candidate(1) - math.pi) < 1e-9\n    assert candidate(double(1)) > 12\n"
    ),
}
MBPP: dict[str, Any] = {
    "text": "Write a function to find the depth of a tree.",
    "code": (
        "import sys\r\nclass Node:\r\n\tdef __init__(self):\r\n\t\tself.left = None\r\n"
        "def sum(n):\r\n\treturn 1 + (sum(n.left) if n.left else 0)"
    ),
    "task_id": 7,
    "test_setup_code": "root = Node()\r\nroot.left = Node()",
    "test_list": ["assert sum(root) == 2", "assert sum(root) < sys.maxsize"],
    "challenge_test_list": ["assert sum(root.left) == 1"],
}
SANITIZED: dict[str, Any] = {
    "task_id": 8,
    "prompt": "Write a function to square a number.",
    "code": "def square(x):\n    return x * x",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(square(2), 4)"],
}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(Sandbox(SandboxConfig(cpu_seconds=1)))


def test_humaneval(tmp_path: Path) -> None:
    (problem,) = load_problems(write(tmp_path / "he.jsonl", HUMANEVAL)).problems
    assert problem.task_id == "Test/0"
    assert problem.solution == HUMANEVAL["prompt"] + HUMANEVAL["canonical_solution"]
    task = problem.task("code")
    assert task.tests == (HUMANEVAL["test"] + "\ncheck(area)",)
    assert (task.names, task.preamble, task.setup) == (("area",), HUMANEVAL["prompt"], "")


def test_mbpp(tmp_path: Path) -> None:
    first, second = load_problems(write(tmp_path / "mbpp.jsonl", MBPP, SANITIZED)).problems
    assert (first.task_id, first.entry_point, first.names) == ("7", "sum", ("sum", "Node"))
    assert first.tests == (*MBPP["test_list"], *MBPP["challenge_test_list"])
    assert first.examples == tuple(MBPP["test_list"])
    assert (first.preamble, first.setup) == ("import sys", "root = Node()\nroot.left = Node()")
    assert first.solution is not None
    assert "\r" not in first.solution
    assert (second.entry_point, second.description) == ("square", "Write a function to square a number.")
    assert second.preamble == "import math"


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox's layers are Linux's")
def test_the_reference_solutions_of_the_formats_pass(tmp_path: Path, verifier: Verifier) -> None:
    for problem in load_problems(write(tmp_path / "all.jsonl", HUMANEVAL, MBPP, SANITIZED)).problems:
        assert problem.solution is not None
        verdict = verifier.verify(problem.task(problem.solution))
        assert verdict.passed, verdict


def test_other_endings(tmp_path: Path) -> None:
    rows = [HUMANEVAL, SANITIZED]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps({str(n): row for n, row in enumerate(rows)}))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(map(json.dumps, rows)).encode())
    ids = [[one.task_id for one in load_problems(path).problems] for path in sorted(tmp_path.iterdir())]
    assert ids == [["Test/0", "8"]] * 4


def test_bad_lines_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = [
        "{",
        HUMANEVAL,
        "",
        "[1]",
        HUMANEVAL,
        {"task_id": 1},
        HUMANEVAL | {"task_id": None},
        HUMANEVAL | {"task_id": "x", "prompt": "def area(:"},
        HUMANEVAL | {"task_id": "y", "entry_point": "volume"},
        HUMANEVAL | {"task_id": "z", "test": "assert True"},
        MBPP | {"test_list": []},
        MBPP | {"test_list": ["assert other(1)"]},
        MBPP | {"text": 5.5},
        "[" * 100_000,
        '{"task_id": ' + "9" * 5000 + "}",
        {"task_id": "\ud83d"},
    ]
    found = load_problems(write(tmp_path / "mixed.jsonl", *rows))
    assert [problem.task_id for problem in found.problems] == ["Test/0"]
    assert found.rejected == (
        Rejected(1, "no JSON: Expecting property name enclosed in double quotes"),
        Rejected(4, "a JSON object is expected, not [1]"),
        Rejected(5, "task_id 'Test/0' occurs a second time"),
        Rejected(6, "neither 'test' with 'entry_point' (HumanEval) nor 'test_list' (MBPP)"),
        Rejected(7, "'task_id' is missing"),
        Rejected(8, "'prompt' is no Python: invalid syntax"),
        Rejected(9, "'prompt' defines no function 'volume'"),
        Rejected(10, "'test' defines no function 'check'"),
        Rejected(11, "'test_list' is no list of texts"),
        Rejected(12, "'test_list' calls no function that 'code' defines"),
        Rejected(13, "'text' is no text"),
        Rejected(14, "no JSON: nested too deeply"),
        Rejected(15, "no JSON: a number with too many digits"),
        Rejected(16, "holds half of a surrogate pair, which has no UTF-8 form"),
    )


def failing(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_problems(path)
    return str(caught.value).replace(str(path.parent), "DIR")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    assert (
        failing(tmp_path / "no.jsonl") == "DIR/no.jsonl: no such file. Give a HumanEval or MBPP file with --data.path."
    )
    assert failing(tmp_path / "a.csv") == "DIR/a.csv: problems are read from .jsonl, .jsonl.gz, .json"
    assert failing(write(tmp_path / "a.jsonl")) == (
        "DIR/a.jsonl holds no problem in the format of HumanEval or MBPP, it is empty"
    )
    assert failing(write(tmp_path / "b.jsonl", "", "[]")) == (
        "DIR/b.jsonl holds no problem in the format of HumanEval or MBPP: line 2: a JSON object is expected, not []"
    )
    (tmp_path / "c.jsonl").write_bytes(b"{}\n\xff")
    assert failing(tmp_path / "c.jsonl") == "DIR/c.jsonl: line 2 is not UTF-8. Convert the file to UTF-8."
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    assert failing(tmp_path / "d.jsonl.gz").startswith("DIR/d.jsonl.gz: damaged gzip file (")
    assert failing(write(tmp_path / "e.json", "5")) == "DIR/e.json: expected a list of problems, found a int"
    assert failing(write(tmp_path / "g.json", "[1,\n}")) == (
        "DIR/g.json: no JSON: Expecting value: line 2 column 1 (char 4)"
    )
    assert failing(write(tmp_path / "h.json", "9" * 5000)) == "DIR/h.json: no JSON: a number with too many digits"
    assert failing(write(tmp_path / "i.json", "[" * 100_000)) == "DIR/i.json: no JSON: nested too deeply"
    assert failing(tmp_path / "x.jsonl" / "y.jsonl").startswith("DIR/y.jsonl: ")
    (tmp_path / "f.jsonl").mkdir()
    assert failing(tmp_path / "f.jsonl") == "DIR/f.jsonl: Is a directory"


def test_the_built_in_set_is_complete() -> None:
    problems = built_in_problems().problems
    assert len(problems) >= 20
    assert len({problem.task_id for problem in problems}) == len(problems)
    for problem in problems:
        assert len(problem.tests) >= 3
        assert problem.wrong_solutions
        assert f"def {problem.entry_point}(" in problem.prompt
        assert '"""' in problem.prompt


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox's layers are Linux's")
def test_built_in_solutions_pass_and_wrong_ones_do_not(verifier: Verifier) -> None:
    cases = []
    for problem in built_in_problems().problems:
        cases.append((problem, problem.solution or "", True))
        cases += [(problem, wrong, False) for wrong in problem.wrong_solutions]
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda case: verifier.verify(case[0].task(case[1])), cases))
    surprising = [
        (problem.task_id, source, verdict)
        for (problem, source, right), verdict in zip(cases, verdicts, strict=True)
        if verdict.passed != right or verdict.status in ("syntax", "missing", "tests")
    ]
    assert surprising == []


DATA = os.environ.get("ROADMAP_DATA")


@pytest.mark.skipif(not DATA, reason="ROADMAP_DATA names no folder with MBPP")
def test_mbpp_itself(verifier: Verifier) -> None:
    """All 974 tasks are read; a few, with classes, imports and odd names among them, are solved by their reference."""
    path = Path(DATA or "") / "mbpp" / "mbpp.jsonl"
    if not path.exists():
        pytest.skip("ROADMAP_DATA holds no mbpp/mbpp.jsonl")
    found = load_problems(path)
    assert (len(found.problems), found.rejected) == (974, ())
    by_id = {problem.task_id: problem for problem in found.problems}
    for task_id in ("1", "126", "367", "533", "596", "601", "927"):
        problem = by_id[task_id]
        verdict = verifier.verify(problem.task(problem.solution or ""))
        assert verdict.passed, (task_id, verdict)
