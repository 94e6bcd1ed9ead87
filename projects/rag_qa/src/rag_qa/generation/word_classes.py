"""Rough classes of words in place of a part-of-speech tagger: closed lists, endings and capitals.

They only have to tell where a phrase may begin and end; the span finder's weights make up for what they miss.
"""

from collections.abc import Sequence
from functools import lru_cache

from rag_qa.generation.span_types import MONTHS, NUMBER_WORDS, QUOTES
from rag_qa.generation.words import HAN, Token

EDGE = "edge"
_CLOSED: dict[str, str] = {
    "determiner": "the a an this that these those its his her their our my your each every some any no all both",
    "preposition": "of in on at by for with from to into onto during since until between among under over after before "
    "through against via per as within without toward towards about around across along near behind beyond despite "
    "upon than like including "
    "在 于 从 到 由 被 把 将 以 为 对 向 自 至 按 根据 通过 随 关于 因 因为 由于 为了",
    "conjunction": "and or but nor so yet because although though while if whereas "
    "和 与 及 以及 或 或者 并 并且 而 但 但是 而且",
    "auxiliary": "is are was were be been being am has have had do does did can could will would may might must shall "
    "should become became becomes remain remained "
    "是 有 为 成为 可以 可 能 会 要 应 没有 不是 就是 位于",
    "relative": "who which whose whom where when what how why that",
    "pronoun": "it he she they we i you him them us me itself himself themselves one another other others such "
    "他 她 它 他们 她们 它们 其 该 此 这 那 这个 那个 这些 自己 之",
    "adverb": "not also only often then there here now very more most less least too still even just already never "
    "always well however thus therefore later 也 都 就 还 又 才 便 则 更 最 很 不 未 已 曾 只 仅 亦 均 共 约 大约",
    "particle": "'s ’s 的 了 着 过 地 得 所 等",
}
_OF_WORD = {word: kind for kind, words in _CLOSED.items() for word in words.split()}


@lru_cache(maxsize=50_000)
def word_class(word: str) -> str:
    """The class of a word without its surroundings."""
    lowered = word.lower()
    if lowered in _OF_WORD:
        return _OF_WORD[lowered]
    if not (word[0].isalnum() or word[0] == "_"):
        if word in QUOTES:
            return "quote"
        if word in "()（）[]":
            return "bracket"
        return "comma" if word in ",，、" else "symbol" if word in "$£€¥%&/-–—'’" else "stop"
    if (
        word[0].isdigit()
        or lowered in NUMBER_WORDS
        or all(sign in "零〇一二三四五六七八九十百千万亿两" for sign in word)
    ):
        return "number"
    if "\u3400" <= word[0] <= "\u9fff":
        return "han" if len(word) > 1 else "han_single"
    if lowered in MONTHS and word[0].isupper():
        return "month"
    if word[0].isupper():
        return "name"
    for ending in ("ing", "ed", "ly"):
        if lowered.endswith(ending) and len(word) > len(ending) + 2:
            return ending
    return "plural" if lowered.endswith("s") and not lowered.endswith("ss") else "word"


def word_classes(words: Sequence[Token]) -> list[str]:
    """Classes in a sentence: its first word is no name merely because of its capital."""
    classes = [word_class(word.text) for word in words]
    first = next((i for i, kind in enumerate(classes) if kind not in ("quote", "bracket")), None)
    if first is not None and classes[first] == "name" and not words[first].text[1:2].isupper():
        follows = classes[first + 1] if first + 1 < len(classes) else EDGE
        if follows not in ("name", "auxiliary", "particle", "number"):
            classes[first] = word_class(words[first].text.lower())
    return classes


__all__ = ["EDGE", "HAN", "word_class", "word_classes"]
