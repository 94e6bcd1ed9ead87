"""From a model's answer to a step's text: what is asked for, without the remarks around it."""

import re

NO_PROBLEMS = "No problems."
_MOST_PROBLEMS = 10
_REASONING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_REASONING_MARK = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
_FENCE = re.compile(r"\A```\w*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_TITLE = re.compile(r"^[#*_\s]*title[*_\s]*:[*_\s]*(?P<title>.+?)[*_\s\"”]*$", re.IGNORECASE)
_HEADING = re.compile(r"^(?:#{1,6}\s+(?P<marked>.+?)\s*#*|(\*\*|__)(?P<bold>[^*_\n]+)\2)\s*$")
_ITEM = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,2}[.):])\s+(?P<text>\S.*)$")
_SPOKEN_TO_READER = re.compile(r"^[^\n.!?\"“]{0,160}:\s*$")
_AFTERWORD = re.compile(r"^\W*(?:\(?(?:word count|words?)\b\W*\d+|\d+ words|-{3,}|\*{3,}|the end)\W*$", re.IGNORECASE)
_NOTHING = re.compile(
    r"^\W*(?:there (?:are|is) )?(?:none|nothing|no (?:\w+ )?(?:problem|issue|fault|flaw)s?)\b.{0,40}$"
)


class UnusableAnswerError(Exception):
    """A step cannot use an answer; the message is what the answer does wrong: "holds no plot points"."""


def parse_outline(answer: str) -> str:
    """The title as a heading, where there is one, and the plot points, numbered anew.

    Raises:
        UnusableAnswerError: there are fewer than two points.
    """
    title = ""
    points: list[str] = []
    for line in cleaned(answer).splitlines():
        item = _ITEM.match(line)
        named = _TITLE.match(line) or _HEADING.match(line)
        if item is not None:
            points.append(_plain(item["text"]))
        elif named is not None and not title and not points:
            title = _plain(next(filter(None, named.groupdict().values())))
    if len(points) < 2:
        raise UnusableAnswerError("holds no plot points, each on a line with its number")
    heading = [f"# {title}", ""] if title else []
    return "\n".join([*heading, *(f"{number}. {point}" for number, point in enumerate(points, start=1))])


def parse_story(answer: str) -> str:
    """The story alone: without title, code fence, a first line such as "Here is the story:" and a count of words below.

    Raises:
        UnusableAnswerError: nothing is left.
    """
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", cleaned(answer)) if part.strip()]
    while len(paragraphs) > 1 and (_is_heading(paragraphs[0]) or _SPOKEN_TO_READER.match(paragraphs[0])):
        del paragraphs[0]
    if paragraphs:
        first, _, rest = paragraphs[0].partition("\n")
        if rest and (_is_heading(first) or _SPOKEN_TO_READER.match(first)):
            paragraphs[0] = rest.strip()
    while paragraphs and _AFTERWORD.match(paragraphs[-1]):
        del paragraphs[-1]
    story = "\n\n".join(paragraphs).replace("<story>", "").replace("</story>", "").strip()
    if not story:
        raise UnusableAnswerError("holds no story")
    return story


def parse_critique(answer: str) -> list[str]:
    """The problems: the items of a list, or the paragraphs where there is none; [] for "No problems.".

    Raises:
        UnusableAnswerError: the answer is empty.
    """
    text = cleaned(answer)
    if not text:
        raise UnusableAnswerError("is empty")
    items = [found["text"].strip() for line in text.splitlines() if (found := _ITEM.match(line))]
    problems = items or [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return [problem for problem in problems if not _NOTHING.match(problem.lower())][:_MOST_PROBLEMS]


def as_list(problems: list[str]) -> str:
    """The text of a critique: a line for each problem."""
    return "\n".join(f"- {problem}" for problem in problems) or NO_PROBLEMS


def cleaned(answer: str) -> str:
    """An answer without its reasoning and without the code fence around it.

    Raises:
        UnusableAnswerError: the reasoning has no end, so that nothing was answered.
    """
    text = _REASONING.sub("", answer)
    marks = list(_REASONING_MARK.finditer(text))
    if marks and not marks[-1][0].startswith("</"):
        raise UnusableAnswerError("ends within its reasoning; raise --decoding.max_new_tokens")
    if marks:  # a chat template may write the opening mark itself
        text = text[marks[-1].end() :]
    text = text.replace("\r\n", "\n").strip()
    fenced = _FENCE.match(text)
    return (fenced[1] if fenced else text).strip()


def title_of(outline: str) -> str:
    """The title of an outline, "" where it has none."""
    first = outline.partition("\n")[0]
    return first.removeprefix("# ").strip() if first.startswith("# ") else ""


def _is_heading(line: str) -> bool:
    return "\n" not in line and (_HEADING.match(line) is not None or _TITLE.match(line) is not None)


def _plain(text: str) -> str:
    """Without the marks of bold and italic type around words."""
    return re.sub(r"(\*\*|__|\*)(\S(?:.*?\S)?)\1", r"\2", text).strip().strip('"“”')
