"""Requests for stories in plain words, with answers: conversations, preferences and prompts for rewards.

> Please write a funny story in the forest. The hero is called Otto, and it should end with a lesson.

They ask for the same four control fields as the headers of the built-in stories, so that the story checker can tell
whether an answer does what was asked.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from text_generation.backends.types import Backend, Message
from text_generation.config.decoding import DecodingConfig
from text_generation.corpora.stories.fields import (
    ENDINGS,
    HEROES,
    MOODS,
    THEMES,
    Ending,
    StoryFields,
    Theme,
    all_fields,
    draw_fields,
)
from text_generation.corpora.stories.writer import write_story
from text_generation.corpora.story_checker import StoryCheck, check_story
from text_generation.training.chat_data import Conversation, Preference

PLACES: dict[Theme, str] = {
    "sea": "at the sea",
    "forest": "in the forest",
    "space": "in space",
    "castle": "in a castle",
    "desert": "in the desert",
    "winter": "in winter",
    "farm": "on a farm",
    "city": "in the city",
}
CLOSINGS: dict[Ending, str] = {
    "happy": "a happy ending",
    "sad": "a sad ending",
    "surprise": "a surprise at the end",
    "lesson": "a lesson at the end",
    "open": "an open ending",
}
REQUESTS = (
    "Please write a {mood} story {place}. The hero is {hero}. It should have {closing}.",
    "Tell me a {mood} story about {hero} {place}, with {closing}.",
    "I would like a story {place}: {hero} is the hero, the mood is {mood}, and there is {closing}.",
    "Can you make up a {mood} tale with {closing}? It plays {place}, and its hero is {hero}.",
)
"""Ways to ask; which one is drawn."""


def request(fields: StoryFields, seed: int | str = 0) -> str:
    """What somebody says who wants such a story. The same fields and seed give the same words."""
    form = random.Random(f"request/{fields.header}/{seed}").choice(REQUESTS)
    return form.format(mood=fields.mood, hero=fields.hero, place=PLACES[fields.theme], closing=CLOSINGS[fields.ending])


def story_prompt(fields: StoryFields, seed: int | str = 0) -> tuple[Message, ...]:
    """The request as a conversation that waits for its answer."""
    return (Message("user", request(fields, seed)),)


def fresh_fields(count: int, seed: int, without: Collection[StoryFields] = ()) -> list[StoryFields]:
    """Combinations of fields, drawn by the seed; none of `without`, and none twice while there are others.

    The first ones do not depend on the count.
    """
    rng, seen = random.Random(f"fields/{seed}"), set(without)
    n_all = len(all_fields())
    found: list[StoryFields] = []
    while len(found) < count:
        if len(seen) == n_all:
            seen = set(without)
        fields = draw_fields(rng)
        if fields not in seen:
            seen.add(fields)
            found.append(fields)
    return found


def story_conversations(count: int, seed: int, without: Collection[StoryFields] = ()) -> list[Conversation]:
    """Requests with stories that the grammar wrote for them. None is for a combination of `without`."""
    return [
        Conversation(
            (
                *story_prompt(fields, f"{seed}/{number}"),
                Message("assistant", write_story(fields, f"{seed}/{number}").text),
            ),
            f"stories:{number}",
        )
        for number, fields in enumerate(fresh_fields(count, seed, without), start=1)
    ]


def swapped_pairs(count: int, seed: int, without: Collection[StoryFields] = ()) -> list[Preference]:
    """Preferences in which a story as asked for stands against one that was written for another theme, hero, mood or
    ending: one field is swapped, each of the four as often."""
    rng = random.Random(f"swap/{seed}")
    pairs: list[Preference] = []
    for number, fields in enumerate(fresh_fields(count, seed, without), start=1):
        other = swap(fields, ("theme", "hero", "mood", "ending")[number % 4], rng)
        chosen, rejected = (write_story(wanted, f"{seed}/{number}").text for wanted in (fields, other))
        pairs.append(Preference(story_prompt(fields, f"{seed}/{number}"), chosen, rejected, f"swapped:{number}"))
    return pairs


def swap(fields: StoryFields, name: str, rng: random.Random) -> StoryFields:
    """The fields with another value of the one that is named."""
    values: dict[str, Sequence[str]] = {"theme": THEMES, "hero": tuple(HEROES), "mood": MOODS, "ending": ENDINGS}
    others = [value for value in values[name] if value != getattr(fields, name)]
    return replace(fields, **{name: rng.choice(others)})


def sampled_pairs(
    backend: Backend,
    count: int,
    seed: int,
    *,
    samples: int = 4,
    decoding: DecodingConfig,
    without: Collection[StoryFields] = (),
) -> list[Preference]:
    """Preferences between answers of the model itself: of the answers to a request, one that obeys every field and one
    that misses some, the worst one.

    What the model gets wrong by itself teaches it more than what it would never write (Tajwar et al. 2024). A request
    whose answers all obey, or all do not, gives no pair: fewer than `count` requests give one.
    """
    asked = fresh_fields(count, seed, without)
    prompts = [story_prompt(fields, f"{seed}/{number}") for number, fields in enumerate(asked, start=1)]
    answers = backend.generate([prompt for prompt in prompts for _ in range(samples)], decoding, seed)
    texts = [answer.text.strip() for answer in answers]
    pairs: list[Preference] = []
    for index, fields in enumerate(asked):
        found = best_and_worst(texts[index * samples : (index + 1) * samples], fields)
        if found is not None:
            pairs.append(Preference(prompts[index], *found, f"sampled:{index + 1}"))
    return pairs


def best_and_worst(texts: Sequence[str], fields: StoryFields) -> tuple[str, str] | None:
    """(an obedient answer, the one that misses most); None where one of the two is not there.

    Among equals the first one is taken.
    """
    checks = [check_story(text, fields) for text in texts]
    obedient = [text for text, check in zip(texts, checks, strict=True) if check.passed]
    missing = [(len(fields_missed(check)), text) for text, check in zip(texts, checks, strict=True) if text]
    worst = max(missing, key=lambda item: item[0], default=(0, ""))
    return (obedient[0], worst[1]) if obedient and worst[0] else None


def fields_missed(check: StoryCheck) -> tuple[str, ...]:
    """The control fields that a story does not obey."""
    return tuple(name for name in ("hero", "theme", "mood", "ending") if not getattr(check, name))


def reward_rows(count: int, seed: int, without: Collection[StoryFields] = ()) -> Iterator[dict[str, object]]:
    """Prompts for GRPO, with the fields as columns: the reward function gets them beside the answer."""
    for number, fields in enumerate(fresh_fields(count, seed, without), start=1):
        yield {"prompt": story_prompt(fields, f"{seed}/{number}"), **vars(fields)}
