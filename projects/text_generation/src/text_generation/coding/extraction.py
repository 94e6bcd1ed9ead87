"""Code out of a model's answer: out of fences and prose, without a tail that was cut off."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

from text_generation.coding.syntax import defined_names, is_valid, parse

_FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n", re.MULTILINE)
_PYTHON = {"", "python", "python3", "py"}
_CODE_LINE = re.compile(r"(?:async def|def|class|from|import|assert) |@\w")
_MOST_LINES = 2000


@dataclass(frozen=True)
class Extraction:
    """Code that was found."""

    code: str
    """Valid Python that ends with a newline, or empty."""

    intact: bool
    """It was valid as it stood: nothing was cut off to make it so."""


def extract_code(answer: str, entry_point: str | None = None) -> Extraction:
    """The Python code in an answer.

    Fenced blocks come first, closed or cut off: the last that defines `entry_point`, or else the longest. Without
    fences, the lines from the first that begins like code. An incomplete tail is cut after the last complete statement.

    Args:
        answer: what the model said.
        entry_point: the function that is wanted; None takes any code.
    """
    texts = list(_fenced(answer)) or [_unfenced(answer)]
    found = [Extraction(code, is_valid(text)) for text in texts if (code := complete_statements(text))]
    if entry_point is not None:
        defining = [one for one in found if entry_point in defined_names(parse(one.code))]
        if defining:
            return defining[-1]
    return max(found, key=lambda one: len(one.code), default=Extraction("", False))


def complete_function(prompt: str, completion: str, entry_point: str) -> Extraction:
    """A program from a prompt that ends inside a function and the text with which a model went on.

    It ends with that function: what a base model writes after it, such as the next function, is left out.

    Args:
        prompt: imports, helpers, the signature or a part of it, perhaps the docstring.
        completion: the model's text.
        entry_point: the function to complete.
    """
    # A model that answers with an indentation has taken the line break for granted.
    prompt = f"{prompt}\n" if completion.startswith(("  ", "\t")) and not prompt.endswith("\n") else prompt
    text = f"{prompt}{_within_function(prompt, completion)}"
    program = complete_statements(text)
    if program.strip() == prompt.strip() or entry_point not in defined_names(parse(program)):
        return Extraction("", False)
    for node in parse(program).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == entry_point:
            program = "\n".join(program.split("\n")[: node.end_lineno]) + "\n"
    return Extraction(program, is_valid(text))


def complete_statements(text: str) -> str:
    """The longest run of lines from the beginning that is valid Python; "" where there is none.

    A function that breaks off within a statement keeps the statements before it.
    """
    lines = text.replace("\r\n", "\n").split("\n")[:_MOST_LINES]
    while lines:
        source = "\n".join(lines).rstrip()
        try:
            parse(source)
        except SyntaxError as error:
            # What the parser objects to on a line stays wrong however the text goes on after it.
            keep = len(lines) if error.lineno is None else error.lineno
            lines = lines[: max(min(len(lines), keep) - 1, 0)]
        else:
            return f"{source}\n" if source else ""
    return ""


def _fenced(answer: str) -> Iterator[str]:
    """What stands in fences that name Python or nothing; the last may lack its end."""
    answer = answer.replace("\r\n", "\n")
    position = 0
    while opening := _FENCE.search(answer, position):
        closing = re.compile(rf"^[ \t]*{re.escape(opening['mark'])}[ \t]*$", re.MULTILINE).search(answer, opening.end())
        end = closing.start() if closing else len(answer)
        if opening["language"].lower() in _PYTHON:
            yield dedent(answer[opening.end() : end])
        position = closing.end() if closing else len(answer)


def _unfenced(answer: str) -> str:
    lines = answer.replace("\r\n", "\n").split("\n")
    start = next((index for index, line in enumerate(lines) if _CODE_LINE.match(line)), len(lines))
    return "\n".join(lines[start:])


def _within_function(prompt: str, completion: str) -> str:
    """The completion up to the first line that stands at the margin and so no longer belongs to the function."""
    lines = completion.replace("\r\n", "\n").split("\n")
    for index, line in enumerate(lines):
        at_margin = bool(line) and not line[0].isspace() and line[0] not in "#)]}"
        # What is in brackets or a string may stand at the margin; it does where cutting here leaves no Python.
        if index and at_margin and is_valid(prompt + "\n".join(lines[:index])):
            return "\n".join(lines[:index])
    return completion
