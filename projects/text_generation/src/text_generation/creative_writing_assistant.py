"""From a theme to a story in steps: outline, draft, critique, revision.

```python
with open_generator(BackendConfig(model="Qwen/Qwen2.5-1.5B-Instruct")) as generator:
    assistant = CreativeWritingAssistant(generator)
    story = assistant.write(Brief(theme="a lost key", hero="Mira"))
    print(story.text, story.check.reasons)
```

`writing/steps.py` says what each step asks a chat model, `writing/headers.py` how the built-in story model takes the
same steps, `writing/constraints.py` what is checked, and `writing/project.py` how a folder keeps them.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from roadmap_shared.errors import UserError
from text_generation.backends.types import Generation
from text_generation.config.decoding import DecodingConfig
from text_generation.config.writing import WRITING_DECODING, WritingStyle
from text_generation.text_generator import TextGenerator
from text_generation.writing.answers import UnusableAnswerError, title_of
from text_generation.writing.brief import Brief
from text_generation.writing.constraints import ConstraintCheck
from text_generation.writing.headers import HeaderSteps
from text_generation.writing.project import WritingProject, fingerprint
from text_generation.writing.steps import STEPS, ChatSteps, Request, Step, Steps

__all__ = ["Brief", "CreativeWritingAssistant", "Story"]

# Steps and attempts must not share their random numbers.
_SEEDS: dict[Step, int] = {"outline": 0, "draft": 1000, "critique": 2000, "revision": 3000, "baseline": 4000}
_SEED_OF_ATTEMPT = 1_000_003


@dataclass(frozen=True)
class Story:
    """A finished story with the steps that led to it."""

    brief: Brief
    texts: Mapping[Step, str]
    """The text of every step."""

    chosen: Literal["draft", "revision"]
    """The revision, unless it meets fewer of the demands than the draft did."""

    check: ConstraintCheck
    """Of the chosen text."""

    @property
    def title(self) -> str:
        """From the outline; "" where it has none."""
        return title_of(self.texts["outline"])

    @property
    def text(self) -> str:
        """The story, without its title."""
        return self.texts[self.chosen]


class CreativeWritingAssistant:
    """Leads a language model through the steps of a story, and checks what comes of it."""

    def __init__(
        self,
        generator: TextGenerator,
        *,
        style: WritingStyle = "chat",
        decoding: DecodingConfig = WRITING_DECODING,
        samples: int = 1,
        attempts: int = 3,
        templates: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
        stream: Callable[[str], None] | None = None,
    ) -> None:
        """Args:
        generator: what answers.
        style: chat for an instruct model, headers for the built-in story model.
        decoding: how it answers.
        samples: drafts, and revisions, among which the checker picks.
        attempts: how often a step is asked before unusable answers end the work. Greedy and beam search give one
            answer only.
        templates: folder with templates that take the place of the shipped ones; for the style chat.
        say: is told of each step in a line.
        stream: gets the pieces of an answer as they come, where a step asks for a single one.
        """
        self._generator = generator
        self._steps: Steps = (
            ChatSteps(decoding, samples=samples, templates=templates)
            if style == "chat"
            else HeaderSteps(generator.backend, decoding, samples=samples)
        )
        self._attempts = attempts if decoding.strategy == "sampling" else 1
        self._say, self._stream = say, stream

    def write(self, brief: Brief, seed: int = 0, project: WritingProject | None = None) -> Story:
        """Take the steps for one story.

        Args:
            brief: what it is asked to be.
            seed: of the sampling.
            project: keeps every step; those that it has already are not asked.

        Raises:
            UserError: the model does not answer, or not usably, or a prompt does not fit its context.
        """
        texts: dict[Step, str] = {}
        for step in STEPS:
            texts[step] = self._step(step, self._steps.request(step, brief, texts), seed, project)
        story = self._chosen(brief, texts)
        if project is not None:
            title = [f"# {story.title}", ""] if story.title else []
            project.finish("\n".join([*title, story.text]), {**_about(story), "model": self._generator.name})
        return story

    def write_many(self, briefs: Sequence[Brief], seed: int = 0) -> list[Story]:
        """Take each step for all the stories at once, in batches. Errors as for `write`."""
        texts: list[dict[Step, str]] = [{} for _ in briefs]
        for step in STEPS:
            requests = [self._steps.request(step, brief, done) for brief, done in zip(briefs, texts, strict=True)]
            for done, (text, _) in zip(texts, self._ask(step, requests, seed), strict=True):
                done[step] = text
        return [self._chosen(brief, done) for brief, done in zip(briefs, texts, strict=True)]

    def baseline(self, brief: Brief, seed: int = 0, project: WritingProject | None = None) -> str:
        """The story in one go, without the steps. Errors as for `write`."""
        return self._step("baseline", self._steps.request("baseline", brief, {}), seed, project)

    def baseline_many(self, briefs: Sequence[Brief], seed: int = 0) -> list[str]:
        """The stories in one go, in batches. Errors as for `write`."""
        requests = [self._steps.request("baseline", brief, {}) for brief in briefs]
        return [text for text, _ in self._ask("baseline", requests, seed)]

    def check(self, story: str, brief: Brief) -> ConstraintCheck:
        """Which demands a text meets."""
        return self._steps.check(story, brief, {})

    def _chosen(self, brief: Brief, texts: Mapping[Step, str]) -> Story:
        draft, revision = (self._steps.check(texts[step], brief, texts) for step in ("draft", "revision"))
        # Of equals the revision: it may mend what no program sees.
        return (
            Story(brief, texts, "draft", draft)
            if draft.share > revision.share
            else Story(brief, texts, "revision", revision)
        )

    def _step(self, step: Step, request: Request | str, seed: int, project: WritingProject | None) -> str:
        """A step's text: the kept one, or a new one, which is kept."""
        key = fingerprint(request, self._generator.name, seed)
        if project is not None and (kept := project.kept(step, key)) is not None:
            return kept
        if isinstance(request, Request):
            self._say(f"{step}: asking {self._generator.name}")
        text, answers = self._ask(step, [request], seed, project, live=True)[0]
        if project is not None:
            project.keep(step, key, text, answers)
        return text

    def _ask(
        self,
        step: Step,
        requests: Sequence[Request | str],
        seed: int,
        project: WritingProject | None = None,
        *,
        live: bool = False,
    ) -> list[tuple[str, list[str]]]:
        """For each request its text and the answers; only those with unusable answers are asked again."""
        found: dict[int, tuple[str, list[str]]] = {
            index: (request, []) for index, request in enumerate(requests) if isinstance(request, str)
        }
        problem = UnusableAnswerError()
        for attempt in range(self._attempts):
            waiting = {i: each for i, each in enumerate(requests) if i not in found and isinstance(each, Request)}
            attempt_seed = seed + _SEEDS[step] + attempt * _SEED_OF_ATTEMPT
            live = live and self._stream is not None and all(len(each.prompts) == 1 for each in waiting.values())
            source = (
                self._streamed(step, waiting, attempt_seed, project) if live else self._batched(waiting, attempt_seed)
            )
            for index, answers in source:
                try:
                    found[index] = (_tidy(waiting[index].read(answers)), answers)
                except UnusableAnswerError as error:
                    problem = error
                    self._say(f"{step}: the answer {error}")
        if len(found) < len(requests):
            raise self._gave_up(step, problem)
        return [found[index] for index in range(len(requests))]

    def _batched(self, requests: Mapping[int, Request], seed: int) -> Iterator[tuple[int, list[str]]]:
        """The answers to each request. Those with the same decoding go to the model together."""
        by_decoding: dict[DecodingConfig, list[int]] = {}
        for index, request in requests.items():
            by_decoding.setdefault(request.decoding, []).append(index)
        for decoding, group in by_decoding.items():
            prompts = [prompt for index in group for prompt in requests[index].prompts]
            answers = iter(self._generator.generate_many(prompts, decoding, seed))
            for index in group:
                yield index, _usable([next(answers) for _ in requests[index].prompts], self._generator.name)

    def _streamed(
        self, step: Step, requests: Mapping[int, Request], seed: int, project: WritingProject | None
    ) -> Iterator[tuple[int, list[str]]]:
        """The same, one after another and shown as it comes. What there is of an answer that breaks off is kept."""
        assert self._stream is not None
        for index, request in requests.items():
            pieces: list[str] = []
            answer = self._generator.stream(request.prompts[0], request.decoding, seed)
            try:
                with closing(cast("Generator[str, None, None]", answer)):
                    for piece in answer:
                        pieces.append(piece)
                        self._stream(piece)
            except BaseException:
                if project is not None:
                    project.keep_unfinished(step, _tidy("".join(pieces)))
                raise
            self._stream("\n\n")
            yield index, ["".join(pieces)]

    def _gave_up(self, step: Step, problem: UnusableAnswerError) -> UserError:
        times = "" if self._attempts == 1 else f" in {self._attempts} attempts"
        return UserError(
            f"{self._generator.name} gave no usable {step}{times}: its answer {problem}. Use a model that follows "
            "instructions, or other --decoding settings."
        )


def _usable(answers: Sequence[Generation], name: str) -> list[str]:
    """The texts of the answers that came; a server may fail for some of them."""
    texts = [answer.text for answer in answers if answer.finish_reason != "error"]
    if not texts:
        raise UserError(f"{name} did not answer: {answers[0].text}")
    return texts


def _tidy(text: str) -> str:
    """As a file gives it back: with plain line ends, and without halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().replace("\r\n", "\n").strip()


def _about(story: Story) -> dict[str, object]:
    """What `story.json` says."""
    return {
        "title": story.title,
        "brief": story.brief.record(),
        "chosen": story.chosen,
        "n_words": story.check.n_words,
        "met": story.check.met,
        "missed": story.check.reasons,
    }
