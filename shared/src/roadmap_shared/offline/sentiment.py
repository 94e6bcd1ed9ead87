"""Sentiment texts written for this repository: film remarks, product comments and tweets, in English and Chinese.

Each text has one of three labels for the attitude of its writer to the thing written about: `negative`, `positive`, or
`neutral`, which is no attitude or a mixed one that neither side wins. Ironic texts carry the intended meaning. Tags
name what a text is like, most of them what makes it hard (`TAGS`). Labels were given by the author and checked by a
second reading without them; texts on which the two differed were left out.

The split is part of the files: it was drawn once for each text, by thought and without a model, so that paraphrases
and minimal pairs of one thought stay on one side.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
Label = Literal["negative", "neutral", "positive"]
Domain = Literal["films", "products", "tweets"]

LABELS: tuple[Label, ...] = ("negative", "neutral", "positive")
DOMAINS: tuple[Domain, ...] = ("films", "products", "tweets")
TAGS = {
    "plain": "said in so many words, or a mere fact; nothing turns it round",
    "negation": "a negator turns the polarity round, or all hangs on it",
    "contrast": "two sides, of which one wins",
    "mixed": "two sides, of which none wins",
    "intensifier": "strengthened or weakened",
    "comparison": "with another thing, an earlier one, or what was expected",
    "irony": "the opposite of the words is meant",
    "question": "is a question, or turns on one",
    "implicit": "told by events, without an opinion word",
    "emoji": "has emoji",
    "typo": "typing errors, missing letters, drawn-out words",
}
ORIGIN = "sentiment texts written for this repository, labels checked by a second reading"


@dataclass(frozen=True)
class SentimentText:
    """One text. Texts with the same `thought` say the same in other words, or its opposite in nearly the same."""

    id: str
    text: str
    label: Label
    domain: Domain
    language: Literal["en", "zh"]
    tags: tuple[str, ...]
    thought: int
    split: Split


@cache
def all_sentiment_texts() -> tuple[SentimentText, ...]:
    """Every text of every domain, language and split."""
    folder = files("roadmap_shared.offline") / "sentiment"
    return tuple(
        _read(json.loads(line), name)
        for name in (*DOMAINS, "chinese")
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    )


def _read(record: dict[str, Any], file: str) -> SentimentText:
    fields: dict[str, Any] = record | ({"language": "zh"} if file == "chinese" else {"language": "en", "domain": file})
    return SentimentText(**{**fields, "tags": tuple(record["tags"])})


def sentiment_texts(
    split: Split, *, domains: Iterable[Domain] = DOMAINS, languages: Iterable[str] = ("en",)
) -> list[SentimentText]:
    """The texts of a split, in a fixed, mixed order."""
    wanted, spoken = set(domains), set(languages)
    return [
        text
        for text in all_sentiment_texts()
        if text.split == split and text.domain in wanted and text.language in spoken
    ]
