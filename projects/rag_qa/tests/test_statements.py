"""What of a passage can be said as an answer, how it is put together, and what the questions' form asks for."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation.composition import compose
from rag_qa.generation.evidence import EvidenceReader
from rag_qa.generation.extractive import ExtractiveGenerator
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.question_type import question_type
from rag_qa.generation.span_types import gives_reason, has_type, looks_like_code
from rag_qa.generation.statements import statement_spans
from rag_qa.types import Chunk, Retrieved

from .generation_fakes import WordEncoder, retrieved


def said(text: str, *headings: str) -> list[tuple[str, str]]:
    return [(text[s.start : s.end], s.heading) for s in statement_spans(text, headings)]


def test_sentences_stand_under_the_last_title_before_them() -> None:
    text = "It is fast.\n\n## Cost\n\nIt costs nothing.\n\nLimits\n======\n\nIt has none."
    assert said(text, "Guide", "Speed") == [
        ("It is fast.", "Speed"),
        ("It costs nothing.", "Cost"),
        ("It has none.", "Limits"),
    ]


def test_code_comments_are_no_titles_and_prompts_are_no_statements() -> None:
    text = "Call it.\n\n```python\n# not a title\nrun(1)\n```\n\n>>> run(2)\n\nDone."
    assert said(text) == [("Call it.", ""), ("run(1)", ""), ("Done.", "")]


def test_rows_of_options_are_statements_of_their_own() -> None:
    text = "  -n/--number N: how often\n  -s/--setup S: what runs once,\n                at the start\n  -v: print more"
    assert [row for row, _ in said(text)] == [
        "-n/--number N: how often",
        "-s/--setup S: what runs once,\n                at the start",
        "-v: print more",
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab. \n#=-`:中。>"), max_size=80))
def test_statements_are_in_order_apart_and_never_blank(text: str) -> None:
    spans = statement_spans(text)
    assert all(first.end <= second.start for first, second in pairwise(spans))
    assert all(any(map(str.isalnum, text[span.start : span.end])) for span in spans)


def test_a_sentence_cut_apart_by_overlapping_chunks_is_read_whole_and_once() -> None:
    whole = "The lock is held by one process. The second one waits for it."
    parts = [(0, len(whole)), (12, len(whole))]
    found = [
        Retrieved(chunk=Chunk(source="a.md", start=a, end=b, text=whole[a:b], page=1, id=i), score=1.0)
        for i, (a, b) in enumerate(reversed(parts))
    ]
    evidence = EvidenceReader(WordEncoder(), LinearRanker({})).read("Who waits?", found)
    assert sorted(sentence.text for sentence in evidence.sentences) == [
        "The lock is held by one process.",
        "The second one waits for it.",
    ]


def answer(question: str, text: str, weight: str, most: int = 2) -> list[str]:
    reader = EvidenceReader(WordEncoder(), LinearRanker({weight: 5.0}))
    evidence = reader.read(question, retrieved(text))
    chunk = evidence.retrieved[0].chunk
    return [chunk.text[a:b] for _, a, b in compose(evidence, 0, most)]


def test_a_pronoun_brings_the_sentence_before_it() -> None:
    text = "Chunks may overlap. It costs space. Nobody minds. Tea is hot."
    assert answer("What?", text, "pronoun_first") == ["Chunks may overlap. It costs space."]
    assert answer("What?", text, "pronoun_first", most=1) == ["It costs space."]


def test_an_item_of_a_list_stands_without_its_bullet() -> None:
    assert answer("Who waits?", "- **Readers** wait for nobody.\n- Writers wait.", "bm25", most=1)[0][0] not in "-* "
    assert answer("How long?", "3 days at most.", "bm25") == ["3 days at most."]


def test_a_colon_brings_its_list_but_not_the_next_paragraph() -> None:
    text = "Three kinds are known:\n\n- red ones\n- blue ones\n\nNobody minds. Tea is hot."
    assert answer("What?", text, "leads_in") == ["Three kinds are known:\n\n- red ones\n- blue ones"]


def test_the_statements_of_a_list_are_cited_where_they_stand() -> None:
    text = "The kettle comes in these colours:\n\n- red\n- blue\n\nTea is hot."
    found = retrieved(text)
    given_answer = ExtractiveGenerator(GenerationConfig(refuse_below=0.0), WordEncoder()).answer(
        "Which colours has the kettle?", found
    )
    for statement in given_answer.statements:
        (citation,) = statement.citations
        assert text[citation.start - 100 : citation.end - 100] == citation.quote == statement.text


@pytest.mark.parametrize(
    ("question", "text", "fits"),
    [
        ("When does join stop?", "If the count drops, it returns.", True),
        ("When was the bridge built?", "If the count drops, it returns.", False),
        ("When was the bridge built?", "It was built in 1871.", True),
        ("Who deletes the file?", "the caller is responsible", True),
        ("Who discovered it?", "nobody knows", False),
        ("How many bytes are read?", "at most 254 bytes", True),
        ("How many bytes are read?", "all of them", False),
    ],
)
def test_what_is_so_in_general_needs_no_date_and_no_name(question: str, text: str, fits: bool) -> None:
    assert has_type(text, question_type(question)) is fits


def test_forms_that_questions_ask_for() -> None:
    assert question_type("What is a shallow copy?").wants_definition
    assert question_type("What does wraps do?").wants_definition
    assert not question_type("What is the population of the largest city?").wants_definition


def test_few_words_answer_a_question_for_a_fact_alone() -> None:
    for question in ("Who wrote it?", "What is the default size?", "How many are there?", "哪一年建成？"):
        assert question_type(question).asks_for_fact, question
    for question in ("Why is text cut?", "How do I delete a file?", "What is reciprocal rank fusion?", "什么是向量？"):
        assert not question_type(question).asks_for_fact, question
    assert question_type("Which option sets the statement?").wants_code
    assert question_type("How do I flush it?").wants_code
    assert not question_type("Who built it?").wants_code
    assert looks_like_code("pass writeback=True")
    assert not looks_like_code("Nobody minds.")
    assert gives_reason("so that nobody waits")
    assert not gives_reason("Nobody waits.")
