"""Does a model do what the header of a story asks for?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from roadmap_shared.metrics import Interval, share_interval
from text_generation.backends.types import Backend
from text_generation.config.decoding import GREEDY, DecodingConfig
from text_generation.corpora.stories.fields import StoryFields, parse_document
from text_generation.corpora.story_checker import StoryCheck, check_story
from text_generation.corpora.types import Corpus, texts_of

CHECKS = ("hero", "pronouns", "theme", "mood", "ending", "length", "complete")
STORY_TOKENS = 200
"""Longer than every built-in story under the built-in tokenizer."""


@dataclass(frozen=True)
class Obedience:
    """Stories that were generated for headers, and what the checker says of each."""

    fields: tuple[StoryFields, ...]
    stories: tuple[str, ...]
    checks: tuple[StoryCheck, ...]

    def rate(self, check: str) -> Interval:
        """Share of the stories that meet a check (a name of `CHECKS`, or `obeyed`), with its 95 % Wilson
        interval."""
        return share_interval([float(getattr(each, check)) for each in self.checks])

    def json_lines(self) -> str:
        """One line a story: what was asked for, what was written, which demands it misses and why."""
        rows = zip(self.fields, self.stories, self.checks, strict=True)
        lines = [
            json.dumps({**asdict(asked), "story": story, "missed": check.reasons}, ensure_ascii=False)
            for asked, story, check in rows
        ]
        return "\n".join(lines) + "\n"


def held_out_fields(corpus: Corpus, count: int) -> list[StoryFields]:
    """Fields of held-out stories, none of which stands in training with all four; at most `count`, no two alike."""
    found = dict.fromkeys(parse_document(text)[0] for text in texts_of(corpus.validation, "story"))
    return list(found)[:count]


def measure_obedience(
    backend: Backend, fields: Sequence[StoryFields], decoding: DecodingConfig = GREEDY, seed: int = 0
) -> Obedience:
    """Let the model write one story for each header and check it."""
    room = backend.context_window - max(backend.count_tokens(each.prompt) for each in fields)
    settings = replace(decoding, max_new_tokens=min(STORY_TOKENS, room))
    answers = backend.generate([each.prompt for each in fields], settings, seed)
    stories = tuple(answer.text.strip() for answer in answers)
    return Obedience(tuple(fields), stories, tuple(check_story(s, f) for s, f in zip(stories, fields, strict=True)))


def share_obeyed(prompt: object, answer: str) -> float:
    """Of the demands on hero, theme and mood, the share that an answer meets: a checker for texts that may be cut off
    before their ending."""
    fields, _ = parse_document(f"{prompt}{answer}")
    check = check_story(answer, fields, min_words=0)
    return float(np.mean([check.hero, check.theme, check.mood]))
