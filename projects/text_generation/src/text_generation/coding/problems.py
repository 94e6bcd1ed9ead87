"""Programming problems: HumanEval- and MBPP-format files, and a built-in set.

HumanEval (Chen et al. 2021): a signature with its docstring to complete, and a function `check(candidate)`.
MBPP (Austin et al. 2021): a sentence that describes a function, and assertions; also in its sanitized edition.
"""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from roadmap_shared.errors import UserError
from text_generation.coding.rows import Row, RowError, read_rows, text_field, texts_field
from text_generation.coding.syntax import defined_names, parse, top_level_imports
from text_generation.coding.verifier import Task

BUILT_IN = "built-in"


@dataclass(frozen=True)
class Problem:
    """A function to write, and the tests that it has to pass."""

    task_id: str
    description: str
    """What the function does, in prose; empty where the prompt's docstring says it."""

    prompt: str
    """Python text that ends with the function's docstring, for a model that continues text; empty for MBPP."""

    entry_point: str
    tests: tuple[str, ...]
    examples: tuple[str, ...] = ()
    """Assertions that the prompt shows, as MBPP's does; they are the only way to learn the function's name."""

    names: tuple[str, ...] = ()
    """Functions and classes that the tests take from the candidate; the entry point is the first."""

    preamble: str = ""
    setup: str = ""
    """As in `verifier.Task`."""

    solution: str | None = None
    """A program that passes."""

    wrong_solutions: tuple[str, ...] = ()
    """Programs that must not pass, each with a mistake of its own."""

    def task(self, source: str) -> Task:
        """The tests for a candidate's program."""
        return Task(source, self.names or (self.entry_point,), self.tests, self.preamble, self.setup)


@dataclass(frozen=True)
class Rejected:
    """A row that is no problem."""

    line: int
    """Line of a .jsonl file, or number of the entry of a .json file, from 1."""

    reason: str


@dataclass(frozen=True)
class ProblemSet:
    """The problems of a file, and the rows that could not be used."""

    name: str
    problems: tuple[Problem, ...]
    rejected: tuple[Rejected, ...] = field(default=())


def load_problems(path: Path) -> ProblemSet:
    """Read a .jsonl, .jsonl.gz or .json file in the format of HumanEval or MBPP; which of them, each row tells.

    Raises:
        UserError: the file is missing or unreadable, or holds no problem.
    """
    problems: dict[str, Problem] = {}
    rejected: list[Rejected] = []
    for row in read_rows(path):
        try:
            problem = _problem(row)
            if problem.task_id in problems:
                raise RowError(f"task_id '{problem.task_id}' occurs a second time")
            problems[problem.task_id] = problem
        except RowError as error:
            rejected.append(Rejected(row.line, str(error)))
    if not problems:
        first = f": line {rejected[0].line}: {rejected[0].reason}" if rejected else ", it is empty"
        raise UserError(f"{path} holds no problem in the format of HumanEval or MBPP{first}")
    return ProblemSet(path.name, tuple(problems.values()), tuple(rejected))


def built_in_problems() -> ProblemSet:
    """The problems written for this package, with reference and wrong solutions."""
    rows = yaml.safe_load((files("text_generation.coding") / "data" / "problems.yaml").read_text("utf-8"))
    return ProblemSet(BUILT_IN, tuple(_built_in(row) for row in rows))


def _built_in(row: dict[str, Any]) -> Problem:
    name = row["name"]
    return Problem(
        task_id=f"{BUILT_IN}/{name}",
        description="",
        prompt=row["prompt"],
        entry_point=name,
        tests=tuple(row["tests"]),
        solution=row["prompt"] + indent(row["solution"], " " * 4),
        wrong_solutions=tuple(row["prompt"] + indent(body, " " * 4) for body in row["wrong"]),
    )


def _problem(row: Row) -> Problem:
    if row.error:
        raise RowError(row.error)
    if "entry_point" in row.fields or "test" in row.fields:
        return _humaneval(row)
    if "test_list" in row.fields:
        return _mbpp(row)
    raise RowError("neither 'test' with 'entry_point' (HumanEval) nor 'test_list' (MBPP)")


def _humaneval(row: Row) -> Problem:
    prompt, test, entry_point = (text_field(row, name) for name in ("prompt", "test", "entry_point"))
    if entry_point not in defined_names(_checked(prompt, "prompt")):
        raise RowError(f"'prompt' defines no function '{entry_point}'")
    if "check" not in defined_names(_checked(test, "test")):
        raise RowError("'test' defines no function 'check'")
    completion = text_field(row, "canonical_solution", optional=True)
    return Problem(
        task_id=text_field(row, "task_id"),
        description="",
        prompt=prompt,
        entry_point=entry_point,
        tests=(f"{test}\ncheck({entry_point})",),
        names=(entry_point,),
        preamble=prompt,
        solution=prompt + completion if completion else None,
    )


def _mbpp(row: Row) -> Problem:
    description = text_field(row, "text" if "text" in row.fields else "prompt")
    code = text_field(row, "code", optional=True)
    tests = texts_field(row, "test_list")
    setup = text_field(row, "test_setup_code", optional=True)
    imports = texts_field(row, "test_imports") if row.fields.get("test_imports") else ()
    reference = _checked(code, "code")
    called = [name for test in tests for name in _called(_checked(test, "test_list"))]
    own = defined_names(reference)  # MBPP 126 defines a `sum`
    entry_point = next((name for name in called if name in own or (not own and not hasattr(builtins, name))), None)
    if entry_point is None:
        raise RowError("'test_list' calls no function that 'code' defines")
    parts = [*tests, setup]
    used = {node.id for part in parts for node in ast.walk(_checked(part, "test")) if isinstance(node, ast.Name)}
    classes = [node.name for node in reference.body if isinstance(node, ast.ClassDef) and node.name in used]
    return Problem(
        task_id=text_field(row, "task_id"),
        description=description.strip(),
        prompt="",
        entry_point=entry_point,
        tests=(*tests, *(texts_field(row, "challenge_test_list") if row.fields.get("challenge_test_list") else ())),
        examples=tests,
        names=(entry_point, *classes),
        preamble="\n".join([*imports, *top_level_imports(reference)]),
        setup=setup,
        solution=code or None,
    )


def _checked(source: str, where: str) -> ast.Module:
    try:
        return parse(source)
    except SyntaxError as error:
        raise RowError(f"'{where}' is no Python: {error.msg}") from None


def _called(tree: ast.Module) -> Iterator[str]:
    """Names that a test calls, outermost call first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
