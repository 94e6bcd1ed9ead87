"""What a model is asked, for code: as a conversation, or as text that it goes on with."""

from dataclasses import dataclass

from text_generation.backends.types import Message, Prompt
from text_generation.coding.problems import Problem
from text_generation.config.coding import CodeStyle

_SYSTEM = (
    "You are an experienced Python programmer. You write correct, complete functions with the standard library alone."
)
STOP = ("\nclass ", "\ndef ", "\n@", "\nif __name__", "\nprint(", "\nassert ", "\n```")
"""Where a base model leaves the function that it completes (after Chen et al. 2021, section 2.1)."""


@dataclass(frozen=True)
class CodeRequest:
    """A function that is wanted."""

    description: str = ""
    start: str = ""
    """Python text to go on with: imports, a signature, a docstring."""

    entry_point: str | None = None
    """Its name; None leaves that to the model."""

    examples: tuple[str, ...] = ()
    """Assertions that it has to satisfy."""

    @classmethod
    def of(cls, problem: Problem) -> "CodeRequest":
        """What a problem asks for."""
        return cls(problem.description, problem.prompt, problem.entry_point, problem.examples)


def function_prompt(request: CodeRequest, style: CodeStyle) -> Prompt:
    """How a model is asked for a function: in a conversation, or by the text that it goes on from."""
    return chat_prompt(request) if style == "chat" else completion_start(request)


def chat_prompt(request: CodeRequest) -> Prompt:
    """A conversation whose answer holds the whole function in a fence."""
    parts = []
    if request.description:
        parts.append(f"Write a Python function: {request.description}")
    if request.start:
        parts.append(f"Complete this Python function:\n\n```python\n{request.start.rstrip()}\n```")
    if request.entry_point and not request.start:
        parts.append(f"Call it `{request.entry_point}`.")
    if request.examples:
        parts.append("It must satisfy these tests:\n\n```python\n" + "\n".join(request.examples) + "\n```")
    parts.append("Answer with the complete function, with the imports that it needs, in one ```python block.")
    return (Message("system", _SYSTEM), Message("user", "\n\n".join(parts)))


def completion_start(request: CodeRequest) -> str:
    """Python text that ends where the model goes on: after the docstring, or within the first line of the function.

    No line break ends it: a tokenizer joins it with the indentation behind it, and a prompt that held it alone would
    look like one before an empty line.
    """
    if request.start:
        return request.start.rstrip()
    lines = [*request.description.strip().splitlines(), *request.examples]
    comment = "\n".join(f"# {line}".rstrip() for line in lines)
    name = f"{request.entry_point}(" if request.entry_point else ""
    return f"{comment}\ndef {name}"


def explain_prompt(code: str) -> Prompt:
    """A question for an explanation."""
    question = "Explain to a colleague what this code does, step by step, with its arguments, result and limits."
    return (Message("system", _SYSTEM), Message("user", f"{question}\n\n```python\n{code.rstrip()}\n```"))


def review_prompt(code: str, facts: str) -> Prompt:
    """A question for an opinion, with the tools' findings."""
    question = (
        "Review this code: errors, cases that it does not treat, how it could be simpler. Tools have found this, do "
        f"not repeat it:\n{facts}"
    )
    return (Message("system", _SYSTEM), Message("user", f"{question}\n\n```python\n{code.rstrip()}\n```"))


def tests_prompt(code: str, n: int) -> Prompt:
    """A question for assertions."""
    question = (
        f"Write {n} tests for this code as plain `assert` statements, one a line, each with a literal expected value, "
        "ordinary cases and limits. Do not repeat the code. Answer with one ```python block."
    )
    return (Message("system", _SYSTEM), Message("user", f"{question}\n\n```python\n{code.rstrip()}\n```"))
