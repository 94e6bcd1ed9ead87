"""Structured output: constraints under which a model can write nothing but valid JSON, a regular expression's texts, or
the body of a Python function.

A constraint is compiled by llguidance into an automaton over bytes; before every token it says which tokens may
follow, and all others get probability 0 (`constrained_decoding`). Whatever the model, a text that reaches its end is
valid.

Why llguidance, of the three libraries that do this: it reads JSON Schema, regular expressions and context-free (Lark)
grammars, refuses the parts of JSON Schema that it does not implement instead of ignoring them, and depends on nothing.
outlines-core turns a JSON Schema into a regular expression, and has no context-free grammars. xgrammar has both, and
requires triton on Linux, a compiler for GPUs that a laptop has no use for.

What no mask can do: *which* valid text comes out is not the model's distribution given that the text is valid, since
the mask looks one token ahead (Park et al. 2024, "Grammar-Aligned Decoding"). `constrained_cost.constraint_cost`
measures what it takes from the text's log-probability.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from llguidance import LLMatcher

from roadmap_shared.errors import UserError, one_line
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.python_grammar import python_body_grammar

Kind = Literal["json_schema", "regex", "python"]
TOO_DEEP = "the JSON Schema is nested too deeply. Make it flatter."


@dataclass(frozen=True)
class Constraint:
    """What a text must be."""

    kind: Kind
    grammar: str = field(repr=False)
    """For llguidance."""

    is_valid: Callable[[str], bool] = field(repr=False)
    """Whether a whole text fulfils it, decided without llguidance."""


def json_schema_constraint(schema: Mapping[str, Any] | bool | str) -> Constraint:
    """JSON that fits a schema, without white space between its tokens: with it a model could go on for ever.

    Properties come in the schema's order. Keywords that llguidance does not implement (`not`, `uniqueItems`, …) are an
    error. Two things go beyond or fall short of the standard: `format` is enforced, and keys that only
    `additionalProperties` allows may come twice.

    Args:
        schema: as an object, or as JSON.

    Raises:
        UserError: it is not JSON, not a JSON Schema, cannot be fulfilled, or uses what is not implemented.
    """
    parsed = parsed_schema(schema)
    validator_class = validator_for(parsed, default=jsonschema.Draft202012Validator)
    try:
        validator_class.check_schema(parsed)
        portable = json.dumps(_with_ascii_patterns(parsed))
    except RecursionError:
        raise UserError(TOO_DEEP) from None
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        raise UserError(
            f"invalid JSON Schema{f' at {place}' if place else ''}: {one_line(error.message)}. "
            "See https://json-schema.org/understanding-json-schema."
        ) from error
    try:
        grammar = LLMatcher.grammar_from_json_schema(portable, overrides={"whitespace_flexible": False})
    except ValueError as error:  # half of a surrogate pair, which JSON can hold and UTF-8 cannot
        raise UserError(f"this JSON Schema cannot be read: {one_line(error)}") from error
    _check(grammar, "this JSON Schema cannot be enforced", "Leave that part out and check it afterwards.")
    validator = validator_class(parsed)

    def is_valid(text: str) -> bool:
        try:
            return validator.is_valid(json.loads(text))
        except ValueError:
            return False

    return Constraint("json_schema", grammar, is_valid)


def regex_constraint(pattern: str) -> Constraint:
    """Texts that a regular expression matches as a whole. No look-around, no back-references: they are not regular.
    The classes \\d, \\w and \\s mean ASCII, as in JSON Schema: libraries differ in what Unicode calls a digit.

    Raises:
        UserError: it is not a regular expression, or uses these.
    """
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error as error:
        raise UserError(f"invalid regular expression {pattern!r}: {one_line(error)}. Mend it.") from error
    grammar = LLMatcher.grammar_from_regex(ascii_classes(pattern))
    _check(
        grammar,
        f"the regular expression {pattern!r} cannot be enforced",
        "Write it without look-around and back-references.",
    )
    return Constraint("regex", grammar, lambda text: compiled.fullmatch(text) is not None)


def python_body_constraint(max_depth: int = 3, *, after_line_break: bool = False) -> Constraint:
    """The body of a Python function: what stands behind `def f(…):` and its line break, indented by four blanks.

    A subset of Python; see `python_grammar`. Every text of it compiles as the body of a function.

    Args:
        max_depth: blocks within blocks, 1 to 6.
        after_line_break: the text begins with that line break, for a prompt that ends before it.

    Raises:
        ValueError: another depth.
    """
    grammar = LLMatcher.grammar_from_lark(python_body_grammar(max_depth, after_line_break=after_line_break))
    head = "def f():" if after_line_break else "def f():\n"
    return Constraint("python", grammar, lambda text: compiles(f"{head}{text}"))


def constraint_of(decoding: DecodingConfig) -> Constraint | None:
    """What the settings demand of an answer; None where it is free.

    Raises:
        UserError: as for `json_schema_constraint` and `regex_constraint`.
    """
    if decoding.json_schema is not None:
        return json_schema_constraint(decoding.json_schema)
    return None if decoding.regex is None else regex_constraint(decoding.regex)


def compiles(source: str) -> bool:
    """Whether Python's compiler takes a source text; its warnings, as for `1 is 2`, do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(ast.parse(source), "<generated>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


_ASCII = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\v"}


def ascii_classes(pattern: str) -> str:
    """Write \\d, \\w and \\s, and their opposites outside of brackets, as ranges of ASCII characters."""
    written, in_brackets, place = "", False, 0
    while place < len(pattern):
        sign = pattern[place]
        if sign == "\\":
            escaped = pattern[place + 1 : place + 2]
            characters = _ASCII.get(escaped.lower(), "")
            if characters and not in_brackets:
                written += f"[{'^' if escaped.isupper() else ''}{characters}]"
            else:
                written += characters if characters and escaped.islower() else sign + escaped
            place += 2
            continue
        if sign == "[" and not in_brackets:
            in_brackets = True
            # A bracket that closes at once stands for itself.
            opening = re.match(r"\[\^?\]?", pattern[place:])
            assert opening is not None
            written += opening.group()
            place += opening.end()
            continue
        in_brackets = in_brackets and sign != "]"
        written += sign
        place += 1
    return written


def _with_ascii_patterns(schema: Any) -> Any:
    """A schema whose `pattern`s are written by `ascii_classes`. Values in `const` and `enum` are no schemas."""
    if isinstance(schema, list):
        return [_with_ascii_patterns(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value
        if name in ("const", "enum", "default", "examples")
        else ascii_classes(value)
        if name == "pattern" and isinstance(value, str)
        else _with_ascii_patterns(value)
        for name, value in schema.items()
    }


def longest_valid_prefix(text: str, constraint: Constraint) -> str | None:
    """What is left of a text that was cut: the most of its whole lines that are valid together, or None.

    A body of a function is cut back to its last whole statement in this way; a JSON object that was cut is lost.
    """
    if constraint.is_valid(text) and constraint.kind != "python":
        return text
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # "retu" is a valid name, and not what was meant
    for n_lines in range(len(lines), 0, -1):
        prefix = "".join(lines[:n_lines])
        if constraint.is_valid(prefix):
            return prefix
    return None


def parsed_schema(schema: Mapping[str, Any] | bool | str) -> Any:
    """A JSON Schema as an object, which may be given as JSON.

    Raises:
        UserError: it is not JSON, or neither an object nor a Boolean.
    """
    if not isinstance(schema, str):
        return dict(schema) if isinstance(schema, Mapping) else schema
    try:
        parsed = json.loads(schema)
    except json.JSONDecodeError as error:
        raise UserError(
            f"the JSON Schema is not JSON: {error.msg} in line {error.lineno}, column {error.colno}. Mend it there."
        ) from error
    except RecursionError:
        raise UserError(TOO_DEEP) from None
    if not isinstance(parsed, dict | bool):
        raise UserError(f"the JSON Schema must be an object, not {one_line(schema)[:40]}")
    return parsed


def _check(grammar: str, problem: str, remedy: str) -> None:
    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if is_error:
        # Of several lines the last that says "error:" names the cause; the others draw a picture of the place.
        lines = [line.strip() for line in messages[0].splitlines() if line.strip()]
        causes = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise UserError(f"{problem}: {(causes or lines)[-1 if causes else 0]}. {remedy}")
