"""Text of documents and models as markup: escaped without exception, for neither is trusted.

A document can hold HTML, and Markdown such as `![](https://elsewhere/secret)`, which a browser would load. What comes
from a document or a model therefore goes into `st.html` through `html.escape`, and into labels through `plain`.
"""

import html
import re
from collections.abc import Sequence

from rag_qa.types import Answer, Citation

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>$:&^=])")
_HARD_BREAK = re.compile(r"(?<=([^\n|]))\n(?!\s|[-*+•>] |\||#|\d+[.)])")
_HAN = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
CONTEXT = 600
"""Characters of a text without pages that are shown on each side of a quote."""

STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 3.6rem; }
.rq-answer { line-height: 1.6; overflow-wrap: anywhere; font-size: 1rem; }
.rq-answer p { margin: 0; }
.rq-answer .rq-struck { text-decoration: line-through; opacity: .6; }
.rq-answer sup { font-weight: 600; margin-left: .15em; color: #2f6fde; }
.rq-answer mark, .rq-passage mark { background: rgba(255, 214, 51, .45); color: inherit; padding: .1em .1em;
  border-radius: .2em; }
.rq-answer .rq-span { font-weight: 650; }
.rq-question { white-space: pre-wrap; overflow-wrap: anywhere; }
.rq-passage { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55; font-size: .93rem;
  border-left: 3px solid rgba(128, 128, 128, .35); padding: .2rem 0 .2rem .9rem; }
.rq-note { opacity: .75; font-size: .85rem; overflow-wrap: anywhere; }
.rq-refused { border-left: 3px solid #d9822b; padding-left: .8rem; }
.rq-hit { display: grid; grid-template-columns: 3rem 1fr; gap: .2rem .8rem; padding: .7rem 0;
  border-top: 1px solid rgba(128, 128, 128, .25); }
.rq-hit .rq-rank { font-size: 1.25rem; font-weight: 650; line-height: 1.3; }
.rq-hit .rq-move { display: block; font-size: .75rem; font-weight: 500; }
.rq-up { color: #1a8f4c; } .rq-down { color: #c2543a; }
.rq-where { font-weight: 600; overflow-wrap: anywhere; }
.rq-stages { display: flex; flex-wrap: wrap; gap: .35rem; margin: .25rem 0; }
.rq-stage { font-size: .78rem; padding: .1rem .5rem; border-radius: 1rem; background: rgba(128, 128, 128, .15);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.rq-stage b { font-weight: 650; } .rq-stage.rq-none { opacity: .5; }
.rq-snippet { font-size: .9rem; opacity: .85; overflow-wrap: anywhere; display: -webkit-box; -webkit-line-clamp: 3;
  -webkit-box-orient: vertical; overflow: hidden; }
</style>"""


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def numbered(answer: Answer) -> list[Citation]:
    """The answer's different citations, numbered by their place in the list, in the order in which they come up."""
    found: dict[tuple[str, int, int], Citation] = {}
    for statement in answer.statements:
        for citation in statement.citations:
            found.setdefault((citation.source, citation.start, citation.end), citation)
    return list(found.values())


def answer_html(answer: Answer) -> str:
    """The answer with the numbers of its citations behind each sentence; what nothing supports is struck through."""
    if not answer.statements:
        kind = "rq-answer rq-refused" if answer.refused else "rq-answer"
        return f'<div class="{kind}"><p>{html.escape(answer.text)}</p></div>'
    numbers = {(one.source, one.start, one.end): n for n, one in enumerate(numbered(answer), 1)}
    parts = []
    for statement in answer.statements:
        marks = sorted({numbers[one.source, one.start, one.end] for one in statement.citations})
        sup = f"<sup>{', '.join(map(str, marks))}</sup>" if marks else ""
        said = _with_span(statement.text, answer.span)
        if not statement.supported:
            said = f'<span class="rq-struck" title="no passage supports this">{said}</span>'
        parts.append(f"{said}{sup}")
    return f'<div class="rq-answer"><p>{" ".join(parts)}</p></div>'


def question_html(question: str) -> str:
    """A question as it was typed."""
    return f'<div class="rq-question">{html.escape(question)}</div>'


def passage_html(before: str, quote: str, behind: str, context: int = CONTEXT) -> str:
    """The quote marked within its surroundings, `context` characters of them on each side."""
    start = f"…{before[-context:]}" if len(before) > context else before
    end = f"{behind[:context]}…" if len(behind) > context else behind
    before, quote, behind = (html.escape(joined(part)) for part in (start, quote, end))
    marked = f"<mark>{quote}</mark>" if quote else ""
    return f'<div class="rq-passage">{before}{marked}{behind}</div>'


def joined(text: str) -> str:
    """The text with its paragraphs on one line each: their own breaks are the width of somebody's editor.

    Breaks before list items, table rows and headings stay, and so do empty lines.
    """
    return _HARD_BREAK.sub(lambda found: "" if _HAN.fullmatch(found[1]) else " ", text)


def note_html(lines: Sequence[str]) -> str:
    """Small print."""
    return f'<div class="rq-note">{"<br>".join(html.escape(line) for line in lines)}</div>'


def _with_span(text: str, span: str | None) -> str:
    """The sentence with the shortest answer in bold, where it holds it."""
    at = text.find(span) if span else -1
    if at < 0 or span is None:
        return html.escape(text)
    before, behind = text[:at], text[at + len(span) :]
    return f'{html.escape(before)}<span class="rq-span">{html.escape(span)}</span>{html.escape(behind)}'
