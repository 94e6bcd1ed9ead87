"""A follow-up question made to stand alone: "And who wrote it?" needs what the question before it was about.

Offline by rules: where the question has a pronoun without a name of its own before it, starts like the rest of a
sentence, or has hardly a word of its own, the topic words of earlier questions are put before it. Words are added and
none taken away, so that a question that was wrongly taken for a follow-up still finds what it says.
"""

import re
from collections.abc import Sequence

from rag_qa.protocols import Turn
from rag_qa.retrieval.multi_query import Ask, content_words
from rag_qa.retrieval.words import fold, is_chinese, segment, stem
from roadmap_shared.errors import UserError, one_line

TURNS = 3
"""Earlier questions that are looked at."""

_PRONOUN = re.compile(
    r"\b(it|its|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|there|one|ones|same|former|latter"
    r"|another|others?)\b"
)
_OPENING = re.compile(r"(and|but|or|so|then|also|what about|how about|why not|why|how so|since when|which one)\b")
_CHINESE_PRONOUNS = frozenset("它 它们 他 他们 她 她们 上述 前者 后者".split())
_CHINESE_POINTERS = "这那其该此"
"""They point back as words, and as the first of two characters: 这本, 该校."""

_POINTS_NOWHERE = frozenset("那么 其他 其它 其实 其余 其次 此外".split())
_CHINESE_OPENINGS = frozenset("那 那么 还有 然后 另外 而且 但 但是".split())
_NAME = re.compile(r"\b[A-Z][\w-]*(?: [A-Z][\w-]*)*")
_FEW = 1
"""Words with meaning up to which a question is taken for the rest of another: "And in 1990?"."""

_PROMPT = """Rewrite the last question so that it can be understood without the conversation. Replace pronouns by what
they stand for. Keep its language. Answer with the rewritten question alone; if it stands alone already, repeat it.

{turns}
Last question: {question}
Rewritten question:"""


def rewrite_question(question: str, history: Sequence[Turn] = (), ask: Ask | None = None) -> str:
    """Return the question with what it takes from the conversation, or as it is where it stands alone.

    Args:
        question: what is asked.
        history: earlier questions and answers, oldest first.
        ask: prompt → text: a language model that rewrites it. None: by rules.

    Raises:
        UserError: the language model failed.
    """
    question = question.strip()
    if not history or not question:
        return question
    if ask is not None:
        return _asked(question, history[-TURNS:], ask)
    if not is_follow_up(question):
        return question
    topic = _topic(question, history[-TURNS:])
    if not topic:
        return question
    return ("，" if is_chinese(question) else ": ").join((" ".join(topic), question))


def is_follow_up(question: str) -> bool:
    """Whether a question leans on what was said before: by pronoun, by its opening, or by having hardly a word."""
    folded = fold(question).strip()
    if len(content_words(question)) <= _FEW:
        return True
    if is_chinese(question):
        found = segment(folded)
        return found[0] in _CHINESE_OPENINGS or any(map(_points_back, found))
    if _OPENING.match(folded):
        return True
    pronoun = _PRONOUN.search(folded)
    # "When did Tesla publish his patent?" holds what the pronoun stands for.
    return pronoun is not None and not _names(question[: pronoun.start()])


def _points_back(word: str) -> bool:
    """Whether a Chinese word stands for something said before: 它 and 该校 do, 吉他 and 应该 do not."""
    if word in _CHINESE_PRONOUNS:
        return True
    return len(word) <= 2 and word[0] in _CHINESE_POINTERS and word not in _POINTS_NOWHERE


def _topic(question: str, history: Sequence[Turn]) -> list[str]:
    """Topic words of the newest earlier question that has its own, less those that the question repeats."""
    there = {stem(word) for word in content_words(question)}
    for turn in reversed(history):
        words = _original_forms(turn.question)
        if is_follow_up(turn.question) and turn is not history[0] and not _names(turn.question):
            continue  # it leans on an earlier one itself
        new = [word for word in words if stem(fold(word)) not in there]
        if new:
            return new
    return []


def _original_forms(question: str) -> list[str]:
    """Content words as they are written; names first say what it is about, so the order stays."""
    if is_chinese(question):
        return content_words(question)
    wanted = set(content_words(question))
    return list(
        dict.fromkeys(word for word in re.findall(r"[^\W_]+(?:['’_-][^\W_]+)*", question) if _has(word, wanted))
    )


def _has(word: str, wanted: set[str]) -> bool:
    parts = content_words(word)
    return bool(parts) and all(part in wanted for part in parts)


def _names(text: str) -> list[str]:
    """Capitalised words, but for the first of a sentence."""
    return [match.group() for match in _NAME.finditer(text) if match.start() > 0]


def _asked(question: str, history: Sequence[Turn], ask: Ask) -> str:
    turns = "\n".join(f"Question: {turn.question}\nAnswer: {turn.answer}" for turn in history)
    try:
        text = ask(_PROMPT.format(turns=turns, question=question))
    except UserError:
        raise
    except Exception as error:  # whatever client it is: one line says why
        raise UserError(f"the language model could not rewrite the question: {one_line(error)[:200]}") from error
    lines = [line.strip() for line in text.splitlines() if any(character.isalnum() for character in line)]
    return lines[0].removeprefix("Rewritten question:").strip() if lines else question
