"""Prompt templates: YAML files with Jinja2 texts, checked when they are read and strict when they are filled in.

A template file holds:

```yaml
name: sentiment_few_shot            # the file's own name, without .yaml
version: 1.0.0
description: Labels a review after a few labelled ones.
variables:                          # every name that the text uses, with its meaning
  review: The review to classify.
examples:                           # optional: what `examples` holds unless others are chosen for a case
  - {review: Loved it., answer: positive}
text: |-                            # a text to go on with, or `messages`: a list of {role, content}
  {% for example in examples %}…{% endfor %}
answer_prefix: " "                  # optional: what stands between the prompt and its answer
stop: ["\n"]                        # optional: what ends an answer
schema: {type: object}              # optional: the JSON Schema of an answer, `{{ schema }}` in the text
```

Among `messages`, the item `each_example: [{role, content}, …]` stands for these turns once an example, which they see
as `example`: few-shot examples as a chat model expects them.

A value is put into the text and never read as a template: `{{ … }}` inside a value stays as it stands. The templates
themselves run in Jinja2's sandbox, so that a file from elsewhere reaches no attribute that leads out of it; the sandbox
limits neither memory nor time, and marks of a chat format inside a value (`<|im_start|>`) are the back end's business.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from roadmap_shared.errors import UserError, did_you_mean, one_line
from text_generation.backends.types import Message, Prompt, Role

Example = Mapping[str, Any]
"""A solved case: values of the template's variables, and its `answer`."""

BUILT_IN = ("examples", "example", "schema")
"""Names that a template's text may use without declaring them."""


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation as a template; `each_example`: it is repeated for every example."""

    role: Role
    content: str
    each_example: bool = False


@dataclass(frozen=True)
class Template:
    """A prompt with gaps. `text` or `turns` is set, never both."""

    name: str
    version: str
    description: str
    variables: Mapping[str, str]
    """Names of the gaps, with what belongs into each."""

    source: str
    """The file, as messages name it."""

    text: str | None = None
    turns: tuple[Turn, ...] = ()
    examples: tuple[Example, ...] = ()
    answer_prefix: str = ""
    """Stands between the prompt and an answer whose likelihood is taken: a blank, after a prompt that ends in
    `Answer:`. A tokenizer would cut a prompt that ends in a blank in another way than the text it has learned from."""

    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        self._check_names()

    def render(self, values: Mapping[str, Any], examples: Sequence[Example] | None = None) -> Prompt:
        """Return the prompt with the gaps filled.

        Args:
            values: one for every variable, and no others.
            examples: take the place of the template's own.

        Raises:
            UserError: a value is missing or has no gap, an example lacks a field that the text uses, or the prompt is
                empty.
        """
        self._check_values(values)
        shared = {**values, "schema": json.dumps(self.schema, ensure_ascii=False)}
        shown = list(self.examples if examples is None else examples)
        if self.text is not None:
            prompt: Prompt = self._fill(self.text, {**shared, "examples": shown})
            empty = not prompt
        else:
            prompt = list(self._messages(shared, shown))
            empty = not any(message.content for message in prompt)
        if empty:
            raise UserError(f"{self.source}: the prompt is empty with these values. Give a text for its variables.")
        return prompt

    def _messages(self, shared: Mapping[str, Any], examples: Sequence[Example]) -> Iterator[Message]:
        turns = list(self.turns)
        while turns:
            if not turns[0].each_example:
                turn = turns.pop(0)
                yield Message(turn.role, self._fill(turn.content, {**shared, "examples": examples}))
                continue
            block = [turns.pop(0)]
            while turns and turns[0].each_example:
                block.append(turns.pop(0))
            for example in examples:
                for turn in block:
                    yield Message(turn.role, self._fill(turn.content, {**shared, "example": example}))

    def _fill(self, text: str, values: Mapping[str, Any]) -> str:
        try:
            return ENVIRONMENT.from_string(text).render(values)
        except jinja2.UndefinedError as error:
            raise UserError(
                f"{self.source}: {one_line(error)}. Give every example the fields that the text uses."
            ) from error
        except jinja2.exceptions.SecurityError as error:
            raise UserError(
                f"{self.source}: {one_line(error)} Templates run in a sandbox: use plain values."
            ) from error
        except (TypeError, ValueError, ArithmeticError, LookupError, jinja2.TemplateError) as error:
            raise UserError(
                f"{self.source}: cannot be filled in: {one_line(error)}. Check the values' types."
            ) from error

    @cached_property
    def used_names(self) -> frozenset[str]:
        """Names that the texts use, `BUILT_IN` ones included.

        Raises:
            UserError: a text is not valid Jinja2.
        """
        used: set[str] = set()
        for place, text in self._texts():
            try:
                used |= meta.find_undeclared_variables(ENVIRONMENT.parse(text))
            except jinja2.TemplateSyntaxError as error:
                raise UserError(
                    f"{self.source}: {place}, line {error.lineno}: is not valid Jinja2: {one_line(error.message)}. "
                    "Gaps are written {{ name }}, conditions {% if name %} … {% endif %}."
                ) from error
        return frozenset(used)

    def _texts(self) -> Iterator[tuple[str, str]]:
        if self.text is not None:
            yield "text", self.text
        for number, turn in enumerate(self.turns, start=1):
            yield f"message {number}", turn.content

    def _check_names(self) -> None:
        declared = list(self.variables)
        for name in sorted(self.used_names - set(declared) - set(BUILT_IN)):
            hint = did_you_mean(name, declared) or "Declare it under variables, with its meaning."
            raise UserError(f"{self.source}: the text uses '{name}', which is not among its variables. {hint}")
        if "schema" in self.used_names and self.schema is None:
            raise UserError(f"{self.source}: the text uses 'schema', and the file has no field of that name. Add it.")
        for name in declared:
            if name in BUILT_IN:
                raise UserError(f"{self.source}: '{name}' is a built-in name: call the variable something else.")
            if name not in self.used_names:
                raise UserError(
                    f"{self.source}: declares the variable '{name}', which its text never uses. "
                    f"Write {{{{ {name} }}}} where it belongs, or remove it."
                )

    def _check_values(self, values: Mapping[str, Any]) -> None:
        known = list(self.variables)
        for name in values:
            if name not in self.variables:
                listed = f"Its variables are {', '.join(known)}." if known else "It has no variables."
                raise UserError(f"{self.source}: unknown variable '{name}'. {did_you_mean(name, known) or listed}")
        missing = [name for name in known if name not in values]
        if missing:
            told = "; ".join(f"{name} ({self.variables[name]})" for name in missing)
            plural = "variables have" if len(missing) > 1 else "variable has"
            raise UserError(f"{self.source}: {len(missing)} {plural} no value: {told}")


def _environment() -> ImmutableSandboxedEnvironment:
    """Prompts are no HTML, so nothing is escaped; a missing name is an error and not an empty text."""
    return ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


ENVIRONMENT = _environment()
