"""Facts about a piece of Python, without executing it: from `ast`, ruff, bandit and radon.

ruff and bandit read the code from standard input in processes of their own, with a limit of time; nothing is written.
Comments in the code cannot switch a finding off. What a model says about the code is kept apart, in `CodeReview.prose`.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from roadmap_shared.errors import UserError, one_line
from text_generation.coding.syntax import parse

_SECONDS = 60
_LONGEST = 500_000  # characters
_RUFF_RULES = "E4,E7,E9,F,B,C90,PLE,PLW,RET,SIM,PERF,UP"


@dataclass(frozen=True)
class FunctionFacts:
    """One function or method."""

    name: str
    """With its class: `Stack.push`."""

    line: int
    n_lines: int
    n_parameters: int
    has_docstring: bool
    is_annotated: bool
    """Every parameter but self and cls, and the result."""

    complexity: int
    """Cyclomatic complexity by radon: independent paths (McCabe 1976); above 10 is hard to test."""


@dataclass(frozen=True)
class Finding:
    """Something that a tool objects to."""

    tool: Literal["ruff", "bandit"]
    code: str
    """The tool's number for it: F401, B307."""

    line: int
    severity: Literal["low", "medium", "high"]
    """As bandit has it; ruff's are low, those that are errors in any case medium."""

    message: str


@dataclass(frozen=True)
class Facts:
    """What is certain about a piece of code."""

    syntax_error: str | None
    """The parser's message; then nothing else is known."""

    n_lines: int
    imports: tuple[str, ...] = ()
    """Modules that it imports anywhere."""

    functions: tuple[FunctionFacts, ...] = ()
    findings: tuple[Finding, ...] = ()
    """In the order of the lines."""

    maintainability: float | None = None
    """Maintainability index by radon, 0 to 100: from Halstead volume, complexity, length and comments (Coleman et al.
    1994). A rough figure, and roughest for short code."""


@dataclass(frozen=True)
class CodeReview:
    """Facts, and beside them what a model says."""

    facts: Facts
    prose: str | None = None
    """A model's opinion: it may be wrong."""


def review_facts(source: str) -> Facts:
    """What `ast`, ruff, bandit and radon find in a piece of code.

    Raises:
        UserError: the code is longer than 500 000 characters, or a tool is missing or fails.
    """
    if len(source) > _LONGEST:
        raise UserError(f"the code has {len(source):,} characters; a review takes at most {_LONGEST:,}")
    n_lines = len(source.splitlines())
    try:
        tree = parse(source)
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        return Facts(f"{place}{error.msg}", n_lines)
    from radon.metrics import mi_visit

    findings = sorted([*_ruff(source), *_bandit(source)], key=lambda one: (one.line, one.tool, one.code))
    return Facts(
        syntax_error=None,
        n_lines=n_lines,
        imports=tuple(sorted(set(_imports(tree)))),
        functions=tuple(function_facts(tree)),
        findings=tuple(findings),
        maintainability=mi_visit(source, multi=True),
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def function_facts(tree: ast.AST, inside: str = "") -> Iterator[FunctionFacts]:
    """The functions of a module and the methods of its classes; those within functions count to their complexity."""
    from radon.visitors import ComplexityVisitor

    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            (block,) = ComplexityVisitor.from_ast(ast.Module([node], [])).functions
            parameters = _parameters(node)
            typed = [one.annotation is not None for one in parameters if one.arg not in ("self", "cls")]
            yield FunctionFacts(
                name=f"{inside}{node.name}",
                line=node.lineno,
                n_lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                n_parameters=len(parameters),
                has_docstring=ast.get_docstring(node) is not None,
                is_annotated=all(typed) and node.returns is not None,
                complexity=block.complexity,
            )
        if isinstance(node, ast.ClassDef):
            yield from function_facts(node, f"{inside}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from function_facts(node, inside)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    arguments = node.args
    several = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *several]


def _ruff(source: str) -> Iterator[Finding]:
    from ruff.__main__ import find_ruff_bin

    options = ["--isolated", "--no-cache", "--ignore-noqa", "--output-format", "json", "--select", _RUFF_RULES]
    command = [find_ruff_bin(), "check", *options, "--stdin-filename", "code.py", "-"]
    for item in json.loads(_output_of("ruff", command, source)):
        code = item["code"] or "E999"
        severe = code.startswith(("E9", "F821", "F823", "PLE"))
        severity = "medium" if severe else "low"
        yield Finding("ruff", code, item["location"]["row"], severity, one_line(item["message"]))


def _bandit(source: str) -> Iterator[Finding]:
    command = [sys.executable, "-P", "-m", "bandit", "--quiet", "--ignore-nosec", "--format", "json", "-"]
    for item in json.loads(_output_of("bandit", command, source))["results"]:
        severity: Any = item["issue_severity"].lower()
        yield Finding("bandit", item["test_id"], item["line_number"], severity, one_line(item["issue_text"]))


def _output_of(tool: str, command: list[str], source: str) -> str:
    """Standard output of a tool that ends with 0, or with 1 for having found something."""
    data = source.encode("utf-8", "replace")
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"{tool} did not end within {_SECONDS} s on this code. Review a smaller piece.") from None
    except OSError as error:
        raise UserError(f"{tool} cannot be started: {error.strerror}. Install it with: pip install {tool}") from error
    if done.returncode not in (0, 1) or not done.stdout:
        raise UserError(f"{tool} failed: {one_line(done.stderr.decode('utf-8', 'replace'))[:300]}")
    return done.stdout.decode("utf-8", "replace")
