"""Several wordings of one question: what one misses another may find (Fox and Shaw 1994 on combining queries)."""

from collections.abc import Callable

from rag_qa.retrieval.words import is_chinese, segment, stop_words, words
from roadmap_shared.errors import UserError, one_line

Ask = Callable[[str], str]
"""A language model: prompt to text."""

_PROMPT = """Write {number} other wordings of the question below, one a line, in its own language, without numbering.
Keep names and numbers as they are. Do not answer it.

Question: {question}"""

_CHINESE_STOP_WORDS = frozenset(
    (
        "的 了 是 在 和 与 或 吗 呢 吧 啊 什么 什么样 哪 哪些 哪个 哪里 哪儿 哪位 哪种 哪年 哪一年 哪一个 谁 "
        "怎么 怎样 如何 为什么 为何 何时 多少 几 几个 请问 有 被 把 从 到 由 就 都 也"
    ).split()
)


def query_variants(query: str, number: int, ask: Ask | None = None) -> list[str]:
    """Return up to `number` wordings besides the question itself, all different.

    By rules there are at most three: the words with meaning alone; its last clause; the longest words alone. A language
    model is asked once; lines that are empty, numbered or repeated are mended or dropped.

    Raises:
        UserError: the language model failed.
    """
    if number < 1:
        return []
    found = _asked(query, number, ask) if ask is not None else _by_rules(query)
    different = dict.fromkeys(variant for variant in found if any(c.isalnum() for c in variant))
    different.pop(query.strip(), None)
    return list(different)[:number]


def _asked(query: str, number: int, ask: Ask) -> list[str]:
    try:
        text = ask(_PROMPT.format(number=number, question=query))
    except UserError:
        raise
    except Exception as error:  # whatever client it is: the question is answered or one line says why not
        raise UserError(f"the language model could not word the question anew: {one_line(error)[:200]}") from error
    return [line.strip().lstrip("-*•0123456789.) ").strip() for line in text.splitlines()]


def _by_rules(query: str) -> list[str]:
    content = content_words(query)
    clauses = [part.strip() for part in query.replace("，", ",").rstrip("?？。. ").split(",")]
    longest = sorted(content, key=len, reverse=True)[: max(2, len(content) // 2)]
    return [
        " ".join(content),
        clauses[-1] if len(clauses) > 1 else "",
        " ".join(word for word in content if word in longest),
    ]


def content_words(text: str) -> list[str]:
    """Words of a question that carry its topic, each once, in order."""
    if is_chinese(text):
        found = [word for word in segment(text) if word[0].isalnum() and word not in _CHINESE_STOP_WORDS]
    else:
        found = [word for word in words(text) if word not in stop_words()]
    return list(dict.fromkeys(found))
