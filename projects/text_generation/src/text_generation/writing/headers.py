"""The same steps for the built-in story model, which follows no instructions: it goes on from control fields.

- outline: the control fields, as the header above a story. No model is asked.
- draft: several samples; the one that meets most demands of the exact story checker is kept.
- critique: the checker's reasons. No model is asked.
- revision: a constrained retry. What stands before the first fault is kept, and several samples go on from there; where
  the fault is spread over the story (words of the theme or the mood, a story too long), nothing is kept. A draft
  without a fault is not touched.

Nothing here makes the model write better: the checker picks. What is gained is how often a story does what was asked,
for the price of more samples.
"""

from collections.abc import Sequence
from dataclasses import replace

from roadmap_shared.errors import UserError
from text_generation.backends.types import Backend
from text_generation.config.decoding import DecodingConfig
from text_generation.corpora.stories.fields import StoryFields, parse_document
from text_generation.corpora.story_checker import check_story
from text_generation.evaluation.obedience import STORY_TOKENS
from text_generation.writing.answers import UnusableAnswerError, as_list
from text_generation.writing.brief import Brief
from text_generation.writing.constraints import ConstraintCheck, check_built_in
from text_generation.writing.steps import Request, Step, Texts
from text_generation.writing.words import sentence_starts

CLOSING_SENTENCES = 3
"""A retry of the ending writes so many sentences anew: the outcome and the closing."""

_STOP = "\n\n"  # a story is one paragraph


class HeaderSteps:
    """Takes the steps with a model that has learned built-in stories."""

    def __init__(self, backend: Backend, decoding: DecodingConfig, *, samples: int = 8) -> None:
        """Args:
        backend: the model; asked here for lengths alone.
        decoding: how it answers; a story has `STORY_TOKENS` at most, and ends at an empty line.
        samples: drafts, and retries, among which the checker picks.
        """
        self._backend, self._decoding, self._samples = backend, decoding, samples

    def request(self, step: Step, brief: Brief, done: Texts) -> Request | str:
        """See `steps.Steps`."""
        match step:
            case "outline":
                return brief.story_fields.header
            case "baseline":
                return self._stories(brief.story_fields, "", brief, 1)
            case "draft":
                return self._stories(_fields(done), "", brief, self._samples)
            case "critique":
                return as_list(list(self.check(done["draft"], brief, done).reasons.values()))
            case "revision":
                if self.check(done["draft"], brief, done).passed:
                    return done["draft"]
                fields = _fields(done)
                return self._stories(fields, kept_beginning(done["draft"], fields, brief), brief, self._samples)

    def check(self, story: str, brief: Brief, done: Texts) -> ConstraintCheck:
        """See `steps.Steps`: against the fields of the outline, which a person may have edited."""
        return check_built_in(story, _fields(done) if "outline" in done else brief.story_fields, brief)

    def _stories(self, fields: StoryFields, kept: str, brief: Brief, n: int) -> Request:
        prompt = fields.prompt + kept
        room = self._backend.context_window - self._backend.count_tokens(prompt)
        if room < 1:
            raise UserError(f"{self._backend.name} has no room for a story after '{fields.header}'. Shorten the names.")
        decoding = replace(
            self._decoding,
            max_new_tokens=min(self._decoding.most_new_tokens, STORY_TOKENS, room),
            stop=(*self._decoding.stop, _STOP),
        )

        def read(answers: Sequence[str]) -> str:
            stories = [story for answer in answers if (story := _joined(kept, answer))]
            if not stories:
                raise UnusableAnswerError("holds no story")
            return max(stories, key=lambda story: check_built_in(story, fields, brief).share)

        return Request((prompt,) * n, decoding, read)


def kept_beginning(story: str, fields: StoryFields, brief: Brief) -> str:
    """What of a faulty story a retry goes on from: the sentences before its first fault, "" where none can stay."""
    check = check_story(story, fields, brief.min_words, brief.max_words)
    starts = sentence_starts(story)
    # The words of theme and mood are spread over the story, and one that is too long has no sentence to blame.
    if not check.theme or not check.mood or check.n_words > brief.max_words:
        return ""
    cut = len(story)
    if not check.hero or not check.pronouns:
        ends = [*starts[1:], len(story)]
        faulty = (start for start, end in zip(starts, ends, strict=True) if _misnames(story[:end], fields))
        cut = next(faulty, 0)  # 0: the hero is named nowhere
    if not (check.ending and check.length and check.complete):
        cut = min(cut, starts[-CLOSING_SENTENCES] if len(starts) >= CLOSING_SENTENCES else 0)
    return story[:cut].rstrip()


def _misnames(beginning: str, fields: StoryFields) -> bool:
    """Whether another hero is named or the wrong pronoun used; that the hero is not named yet is no fault."""
    check = check_story(f"{fields.hero}. {beginning}", fields)
    return not check.hero or not check.pronouns


def _fields(done: Texts) -> StoryFields:
    return parse_document(done["outline"])[0]


def _joined(kept: str, answer: str) -> str:
    gap = " " if kept and not answer[:1].isspace() else ""
    return f"{kept}{gap}{answer}".strip() if answer.strip() else ""
