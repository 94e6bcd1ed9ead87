"""The documents that ship with the project."""

import hashlib
import re
from pydoc_data.topics import topics

import pytest

from rag_qa.corpus.built_in import built_in_documents
from rag_qa.corpus.guides import guide_documents
from rag_qa.corpus.python_topics import find_headings, topic_documents
from rag_qa.types import Document
from roadmap_shared.errors import UserError

FOR = """\
The "for" statement
*******************

The "for" statement is used to iterate over the elements of a sequence, such as a string, a tuple or a list, or of
any other object that can be iterated over, one after the other, until none is left.
"""
# The same text, wrapped at another width and one level lower, between two sections that stand nowhere else.
COMPOUND = """\
Compound statements
*******************

Compound statements contain groups of other statements; they affect or control the execution of those statements in
some way, and in general they span several lines, although simple ones fit into one.

The "for" statement
===================

The "for" statement is used to iterate over the elements of a sequence,
such as a string, a tuple or a list, or of any other object that can be
iterated over, one after the other, until none is left.

The "match" statement
=====================

The match statement is used for pattern matching.

Guards
------

A guard must succeed for code inside the case block to execute.
"""


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return built_in_documents()


def paragraphs(text: str) -> list[str]:
    return [re.sub(r"\s+", "", part) for part in re.split(r"\n\s*\n", text)]


def test_sources_are_unique_and_say_where_a_text_comes_from(documents: list[Document]):
    sources = [document.source for document in documents]
    assert len(set(sources)) == len(sources)
    assert all(re.fullmatch(r"python/[a-z-]+\.txt|guides/[a-z0-9-]+\.md", source) for source in sources)
    assert sum(source.startswith("python/") for source in sources) > 60


def test_offsets_and_hashes_belong_to_the_text(documents: list[Document]):
    for document in documents:
        assert [(page.number, page.start, page.end) for page in document.pages] == [(1, 0, len(document.text))]
        assert document.content_hash == hashlib.sha256(document.text.encode()).hexdigest()
        assert document.headings[0].level == 1
        assert document.title == document.headings[0].title
        for heading in document.headings:
            assert document.text[heading.start : heading.end] == heading.title
        assert document.metadata["origin"]


def test_no_long_paragraph_stands_in_two_documents(documents: list[Document]):
    owner: dict[str, str] = {}
    for document in documents:
        for paragraph in paragraphs(document.text):
            if len(paragraph) > 120:
                assert owner.setdefault(paragraph, document.source) == document.source


def test_nothing_of_the_reference_is_lost(documents: list[Document]):
    # Footnotes go with the section before them; near-empty topics are left out.
    kept = {part for document in documents for part in paragraphs(document.text)}
    lost = {part for text in topics.values() if len(text.split()) > 40 for part in paragraphs(text)} - kept
    assert {part for part in lost if len(part) > 120} == set()


def test_a_section_is_kept_in_the_most_specific_topic_only():
    compound, loop = topic_documents({"for": FOR, "compound": COMPOUND}, "by hand")
    assert loop.text == FOR.strip("\n")
    assert loop.title == 'The "for" statement'
    assert compound.source == "python/compound.txt"
    assert compound.text == re.sub(r'The "for".*?left\.\n\n', "", COMPOUND, flags=re.DOTALL).strip("\n")
    assert [(heading.level, heading.title) for heading in compound.headings] == [
        (1, "Compound statements"),
        (2, 'The "match" statement'),
        (3, "Guards"),
    ]
    assert compound.notes == ('its section The "for" statement is the document python/for.txt',)


def test_a_section_that_is_left_out_takes_its_subsections_with_it():
    def part(title: str, line: str, words: str) -> str:
        return f"{title}\n{line * len(title)}\n\n{words * 15}\n\n"

    inner, last = part("Inner", "-", "within the section "), part("Last", "-", "behind the inner part ")
    whole = part("Topic", "=", "about the topic alone ") + inner + last
    topics = {
        "topic": whole.replace("Topic\n=====", "Topic\n*****"),
        "inner": inner.replace("-", "*"),
        "book": part("Book", "*", "what the book begins with ") + whole + part("End", "=", "what it ends with "),
    }
    book, *_ = topic_documents(topics, "")
    assert book.source == "python/book.txt"
    assert [heading.title for heading in book.headings] == ["Book", "End"]
    assert "behind the inner part" not in book.text


def test_a_topic_with_two_keys_keeps_the_one_that_its_title_names():
    assert [document.source for document in topic_documents({"else": FOR, "for": FOR}, "")] == ["python/for.txt"]


def test_a_near_empty_topic_is_no_document_and_takes_nothing_from_others():
    short = "Guards\n******\n\nA guard must succeed for code inside the case block to execute.\n"
    (compound,) = topic_documents({"guards": short, "compound": COMPOUND}, "")
    assert "A guard must succeed" in compound.text


def test_topics_without_any_text_are_an_error():
    with pytest.raises(UserError) as error:
        topic_documents({"for": "too short"}, "")
    assert str(error.value) == "this Python's help topics (pydoc_data.topics) are empty: use a full CPython"


def test_a_table_has_no_headings():
    assert find_headings('+-----+\n| "x" |\n+-----+\n\n   indented\n   ========\n') == ()


def test_the_guides_are_real_documentation():
    guides = guide_documents()
    assert 10 <= len(guides) <= 14
    chinese = [guide for guide in guides if guide.metadata["language"] == "zh"]
    assert len(chinese) == 2
    for guide in guides:
        words = guide.text.split()
        if guide in chinese:
            assert 800 <= sum("\u4e00" <= character <= "\u9fff" for character in guide.text) <= 2000
        else:
            assert 400 <= len(words) <= 900, guide.source
            assert guide.text.isascii() or not re.search("[—\u4e00-\u9fff]", guide.text), guide.source
