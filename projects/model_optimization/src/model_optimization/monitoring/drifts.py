"""Kinds of drift, put into texts on purpose."""

import html
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roadmap_shared.offline.sentiment import SentimentText, sentiment_texts

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    sign: row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    for row in KEYBOARD
    for place, sign in enumerate(row)
}
_EMOJI = "😀😂😍😭😡👍👎🎉🔥💔"
_SWAPS = {" is ": " is not ", " was ": " was not ", " are ": " are not ", " were ": " were not ", " not ": " "}


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """A text and the label that is right for it."""

    text: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A change of the stream from some request on."""

    name: str
    what: str
    """What happens, for the report."""

    texts: Callable[[Sequence[LabelledText], random.Random], list[LabelledText]]
    """The texts that come, made of texts of the ordinary stream, or others altogether."""

    share: float = 1.0
    """Of the requests that are affected."""

    strong: bool = True
    """Whether it must be found: all requests come from elsewhere, are damaged in most words, or have one label. The
    others are shifts of a mixture, and changes of a sign or a word of a text."""


def base_texts() -> list[LabelledText]:
    """The ordinary stream: English remarks about films and products."""
    return _built_in(["films", "products"], ["en"])


def typos(text: str, chance: random.Random, share: float = 0.1) -> str:
    """Letters missing, doubled, swapped with the next, or hit beside the key, each letter with this chance."""
    out, place = [], 0
    while place < len(text):
        sign = text[place]
        if not sign.isalpha() or chance.random() >= share:
            out.append(sign)
        else:
            kind = chance.randrange(4)
            if kind == 0:
                out.append(sign * 2)
            elif kind == 1 and place + 1 < len(text):
                out += [text[place + 1], sign]
                place += 1
            elif kind == 2:
                out.append(chance.choice(_NEIGHBOURS.get(sign.lower()) or sign))
        place += 1
    return "".join(out)


def truncated(text: str, n_words: int = 4) -> str:
    """The first words: a field of an upstream system became shorter."""
    return " ".join(text.split()[:n_words])


def with_emoji(text: str, chance: random.Random) -> str:
    """One to three emoji at the end."""
    return f"{text} {''.join(chance.choices(_EMOJI, k=chance.randint(1, 3)))}"


def negated(text: str) -> str | None:
    """With its first verb negated, or the first negation taken away; None where there is neither."""
    for old, new in _SWAPS.items():
        if old in text:
            return text.replace(old, new, 1)
    return None


def as_html(text: str) -> str:
    """As a page that was not stripped of its markup."""
    return f'<div class="review-body"><p data-id="r1">{html.escape(text)}&nbsp;</p><br/></div>'


def mojibake(text: str) -> str:
    """UTF-8 read as Latin-1: dashes, quotes and letters with accents become several signs each."""
    curly = text.replace("'", "\u2019").replace('"', "\u201d").replace(" - ", " \u2013 ")
    return curly.encode().decode("latin-1")


def _built_in(domains: Sequence[str], languages: Sequence[str]) -> list[LabelledText]:
    found: list[SentimentText] = []
    for split in ("train", "validation", "test"):
        found += sentiment_texts(split, domains=domains, languages=languages)  # type: ignore[arg-type]
    return [LabelledText(text=item.text, label=item.label) for item in found]


def _each(change: Callable[[str, random.Random], str | None]) -> Callable[..., list[LabelledText]]:
    def texts(base: Sequence[LabelledText], chance: random.Random) -> list[LabelledText]:
        changed = ((change(item.text, chance), item.label) for item in base)
        return [LabelledText(text=text, label=label) for text, label in changed if text is not None]

    return texts


def _tweets(base: Sequence[LabelledText], chance: random.Random) -> list[LabelledText]:
    return chance.sample(_built_in(["tweets"], ["en"]), len(base))


def _chinese(base: Sequence[LabelledText], chance: random.Random) -> list[LabelledText]:
    texts = _built_in(["films", "products", "tweets"], ["zh"])
    return chance.sample(texts, min(len(base), len(texts)))


def _films(base: Sequence[LabelledText], chance: random.Random) -> list[LabelledText]:
    return chance.sample(_built_in(["films"], ["en"]), len(base))


def _negative(base: Sequence[LabelledText], chance: random.Random) -> list[LabelledText]:
    return [item for item in base if item.label == "negative"]


# A drift of a fifth of the requests is told apart from the same drift of all by its name's end.
_CHINESE, _TYPOS, _EMPTY = _chinese, _each(typos), _each(lambda text, chance: "")
DRIFTS: tuple[Drift, ...] = (
    Drift(name="topic: tweets", what="tweets instead of remarks about films and products", texts=_tweets),
    Drift(name="topic: films only", what="no products any more", texts=_films, strong=False),
    Drift(name="language", what="Chinese texts", texts=_CHINESE),
    Drift(name="language, a fifth", what="a fifth are Chinese", texts=_CHINESE, share=0.2, strong=False),
    Drift(name="typos", what="each letter mistyped with chance 0.1", texts=_TYPOS),
    Drift(name="typos, a fifth", what="typos in a fifth of the texts", texts=_TYPOS, share=0.2, strong=False),
    Drift(name="truncation", what="only the first four words", texts=_each(lambda text, chance: truncated(text))),
    Drift(name="label shift", what="only negative texts", texts=_negative),
    Drift(name="emoji", what="one to three emoji behind each text", texts=_each(with_emoji)),
    Drift(
        name="negation",
        what="the first verb negated, or its negation taken away",
        texts=_each(lambda text, chance: negated(text)),
        strong=False,
    ),
    Drift(name="empty texts", what="an upstream that sends nothing", texts=_EMPTY),
    Drift(name="empty texts, a fifth", what="a fifth are empty", texts=_EMPTY, share=0.2, strong=False),
    Drift(name="HTML", what="markup is not stripped", texts=_each(lambda text, chance: as_html(text))),
    Drift(
        name="mojibake", what="UTF-8 read as Latin-1", texts=_each(lambda text, chance: mojibake(text)), strong=False
    ),
)
