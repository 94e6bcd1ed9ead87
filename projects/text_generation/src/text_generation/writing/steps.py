"""The steps from a theme to a story, for chat models: what is asked at each, and what becomes of the answers.

outline -> draft -> critique -> revision. Every step's result is a text, which a person may edit before the next step.
How the built-in story model takes the same steps is told in `headers`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from roadmap_shared.errors import UserError, did_you_mean
from text_generation.backends.types import Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.template_files import read_template
from text_generation.prompting.templates import Template
from text_generation.writing.answers import (
    NO_PROBLEMS,
    UnusableAnswerError,
    as_list,
    parse_critique,
    parse_outline,
    parse_story,
)
from text_generation.writing.brief import Brief
from text_generation.writing.constraints import ConstraintCheck, check_constraints

Step = Literal["outline", "draft", "critique", "revision", "baseline"]
STEPS: tuple[Step, ...] = ("outline", "draft", "critique", "revision")
"""In their order. The baseline, a story in one go, is none of them."""

SHIPPED = files("text_generation.writing") / "templates"
Texts = Mapping[Step, str]


@dataclass(frozen=True)
class Request:
    """What a step asks, and how its answers are read."""

    prompts: tuple[Prompt, ...]
    decoding: DecodingConfig
    read: Callable[[Sequence[str]], str]
    """The step's text from the answers to the prompts; raises `UnusableAnswerError`."""


class Steps(Protocol):
    """A way to take the steps."""

    def request(self, step: Step, brief: Brief, done: Texts) -> Request | str:
        """What a step asks after those that are done, or its text where no model is needed."""
        ...

    def check(self, story: str, brief: Brief, done: Texts) -> ConstraintCheck:
        """Whether a story meets the demands."""
        ...


class ChatSteps:
    """Asks an instruct model with a template at each step.

    - outline: title and plot points.
    - draft: a story by the outline; of several samples, the one that meets most demands.
    - critique: what the checker found (a fact), then what the model finds.
    - revision: a story in which these problems are mended. A draft without any is kept as it is.
    """

    def __init__(self, decoding: DecodingConfig, *, samples: int = 1, templates: Path | None = None) -> None:
        """Args:
        decoding: how the model answers.
        samples: drafts, and revisions, among which the checker picks.
        templates: folder with files that take the place of the shipped ones.

        Raises:
            UserError: the folder is missing, holds no template of these names, or one that cannot be used.
        """
        self._decoding, self._samples = decoding, samples
        self._templates = read_templates(templates)

    def request(self, step: Step, brief: Brief, done: Texts) -> Request | str:
        """See `Steps`."""
        if step == "revision" and done["critique"].strip() == NO_PROBLEMS:
            return done["draft"]
        reasons = self.check(done["draft"], brief, done).reasons if step == "critique" else {}
        read: dict[Step, Callable[[Sequence[str]], str]] = {
            "outline": lambda answers: parse_outline(answers[0]),
            "critique": lambda answers: as_list([*reasons.values(), *parse_critique(answers[0])]),
        }
        n = self._samples if step in ("draft", "revision") else 1
        prompt = self._prompt(step, brief, {**done, "facts": "; ".join(reasons.values()) or "nothing"})
        return Request(
            (prompt,) * n,
            self._decoding_of(step),
            read.get(step, lambda answers: best_story(answers, lambda story: self.check(story, brief, done))),
        )

    def check(self, story: str, brief: Brief, done: Texts) -> ConstraintCheck:
        """See `Steps`. What is done makes no difference."""
        return check_constraints(story, brief)

    def _prompt(self, step: Step, brief: Brief, values: Mapping[str, str]) -> Prompt:
        template = self._templates[step]
        known: dict[str, Any] = {**brief.record(), "demands": brief.demands, **values}
        return template.render({name: known[name] for name in template.variables if name in known})

    def _decoding_of(self, step: Step) -> DecodingConfig:
        stop = self._templates[step].stop
        return replace(self._decoding, stop=(*self._decoding.stop, *stop))


def best_story(answers: Sequence[str], check: Callable[[str], ConstraintCheck]) -> str:
    """Of the stories in the answers, the one that meets most demands; of equals, the first.

    Raises:
        UnusableAnswerError: none of the answers holds a story.
    """
    stories: list[str] = []
    unusable = UnusableAnswerError("holds no story")
    for answer in answers:
        try:
            stories.append(parse_story(answer))
        except UnusableAnswerError as error:
            unusable = error
    if not stories:
        raise unusable
    return max(stories, key=lambda story: check(story).share)


def read_templates(folder: Path | None) -> dict[Step, Template]:
    """The template of each step: the shipped one, or that of the folder where it has one.

    Raises:
        UserError: the folder is missing, holds a file of another name or none, or a file is no template.
    """
    names: tuple[Step, ...] = get_args(Step)
    found: set[str] = set()
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"--templates {folder}: no such folder")
        found = {path.stem for path in folder.glob("*.yaml")}
        expected = ", ".join(f"{name}.yaml" for name in names)
        if not found:
            raise UserError(f"--templates {folder}: holds no template. Expected are {expected}, or some of them.")
        for stem in sorted(found - set(names)):
            hint = did_you_mean(stem, names) or f"Expected are {expected}, or some of them."
            raise UserError(f"--templates {folder}: '{stem}.yaml' belongs to no step. {hint}")
    return {
        name: read_template(folder / f"{name}.yaml", str(folder / f"{name}.yaml"))
        if folder is not None and name in found
        else read_template(SHIPPED / f"{name}.yaml", f"writing/templates/{name}.yaml")
        for name in names
    }
