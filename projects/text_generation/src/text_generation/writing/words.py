"""Words of any text: counted, compared without their endings, compared as names."""

import re
from collections.abc import Iterable

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_POSSESSIVE = re.compile(r"(?<=\w)['’]s\b")
# Scripts without blanks between words: Han, Hiragana and Katakana, and their extensions.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
# Behind the end of a sentence, but not behind "Mr." and the like. A quotation that a small letter follows ends none.
_SENTENCE_END = re.compile(
    r"(?<=[.!?…])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)[\"'”’)]*\s+(?=[\"'“‘(]?[^\W_a-zß-ÿ])"
    r"|(?<=[。！？])[”」』]*\s*(?=[^\s”」』])"
    r"|\n\s*\n"
)
_ENDINGS = ("ing", "ed", "ly", "s")

COMMON_WORDS = frozenset(
    "a about above across after again against all along already also always am among an and another any anybody anyone "
    "anything are around as asked at away back be became because been before began behind being below beside besides "
    "best better between beyond both but by call called came can cannot come could day dear did do does done down "
    "during each either else end enough even evening ever every everybody everyone everything except far few finally "
    "find first for found from gave get go gone good got great had half happy hardly has have he heard held help her "
    "here hers herself high him himself his home hope hour how however i if in inside instead into is it its itself "
    "just keep kept knew know last late later least left less let life like little long look looked made make man "
    "many may maybe me meanwhile men mine minute moment more morning most much must my myself near nearly neither "
    "never new next night no nobody none nor not nothing now of off often oh old on once one only onto or other our "
    "out outside over own perhaps please put quite rather ready really right said sat saw say see seen she should "
    "since slowly small so some somebody someone something sometimes somewhere soon still stood story such suddenly "
    "tale take tell than that the their them then there these they thing things this those though three through thus "
    "till time to today together told tomorrow tonight too took toward towards two under until up upon us very was way "
    "we well went were what whatever when whenever where wherever whether which while who whole whom whose why will "
    "with within without word work world would year yes yet you young your".split()
)
"""English words that name neither a theme nor a person."""


def count_words(text: str) -> int:
    """Words of a text; in a script without blanks, a sign is a word."""
    signs = len(_UNSPACED.findall(text))
    return signs + len(WORD.findall(_UNSPACED.sub(" ", text)))


def is_unspaced(word: str) -> bool:
    """Whether a word has signs of a script without blanks, in which no blank tells where a word ends."""
    return _UNSPACED.search(word) is not None


def sentence_starts(text: str) -> list[int]:
    """Where the sentences of a text begin, as indices; [0] for an empty one."""
    return [0, *(found.end() for found in _SENTENCE_END.finditer(text) if found.end() < len(text))]


def sentences_of(text: str) -> list[str]:
    """A text's sentences, with their punctuation and without the blanks between them."""
    starts = sentence_starts(text)
    parts = [text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [part for part in parts if part]


def words_of(text: str) -> list[str]:
    """The words as they stand, without punctuation and without the 's of the possessive."""
    return WORD.findall(_POSSESSIVE.sub("", text))


def content_words(phrase: str) -> list[str]:
    """The words of a phrase that carry its meaning, in lower case, each once; all of them where none does."""
    words = list(dict.fromkeys(word.lower() for word in words_of(phrase)))
    return [word for word in words if word not in COMMON_WORDS] or words


def stem(word: str) -> str:
    """An English word without its regular ending: storms and storm, losing and lose, stories and story are the same."""
    word = word.lower()
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    # lose, los(ing) -> los; stori(es), story -> stori; runn(ing) -> run; box(es), glass(es) -> box, glas
    word = re.sub(r"(?<=\w\w)e$", "", word)
    word = re.sub(r"y$", "i", word)
    return re.sub(r"([^aeiou])\1$", r"\1", word)


def occurring(wanted: Iterable[str], text: str) -> list[str]:
    """Which of the wanted words a text holds, in any regular form; in a script without blanks, as a part of it."""
    stems = {stem(word) for word in words_of(text)}
    lower = text.lower()
    return [word for word in wanted if stem(word) in stems or (is_unspaced(word) and word in lower)]


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
