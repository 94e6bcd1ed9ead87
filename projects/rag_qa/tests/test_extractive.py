"""The extractive generator, evidence and spans."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation import shipped
from rag_qa.generation.answer_generator import build_generator
from rag_qa.generation.evidence import EvidenceReader
from rag_qa.generation.extractive import ExtractiveGenerator
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.sentence_ranker import Question
from rag_qa.generation.span_choice import _f1_table, _without_lone_quote, choose_span
from rag_qa.generation.span_finder import SentenceWords, candidates
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import FloatArray
from roadmap_shared.errors import UserError

from .generation_fakes import BRIDGE, CHINESE, KETTLE, WordEncoder, retrieved

OPEN = GenerationConfig(refuse_below=0.0)


@pytest.mark.parametrize(
    ("question", "span", "source"),
    [
        ("How many days does the warranty of the kettle last?", "730", "d0.txt"),
        ("In what year was the old bridge at Corven built?", "1871", "d1.txt"),
        ("Who built the old bridge at Corven?", "Ida Marsh", "d1.txt"),
    ],
)
def test_answers_with_sentence_span_and_citation(question: str, span: str, source: str) -> None:
    answer = build_generator(OPEN, WordEncoder()).answer(question, retrieved(KETTLE, BRIDGE))
    assert not answer.refused
    assert span in (answer.span or "")
    assert answer.statements[0].citations[0].source == source
    assert answer.text.startswith(answer.statements[0].text)
    assert 0 <= answer.confidence <= 1


def test_chinese_question() -> None:
    answer = build_generator(OPEN, WordEncoder()).answer("水壶的保修期是多少天？", retrieved(BRIDGE, CHINESE))
    assert answer.statements[0].text == "水壶的保修期是730天。"
    assert "730" in (answer.span or "")


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.text(alphabet=st.sampled_from("ab. \n中。?<1"), max_size=40), max_size=3),
    st.text(alphabet=st.sampled_from("ab1中?"), min_size=1, max_size=20),
)
def test_everything_that_is_said_stands_in_a_chunk(texts: list[str], question: str) -> None:
    found = retrieved(*texts)
    answer = ExtractiveGenerator(OPEN, WordEncoder()).answer(question, found)
    for statement in answer.statements:
        (citation,) = statement.citations
        chunk = found[citation.chunk_id].chunk
        assert chunk.text[citation.start - chunk.start : citation.end - chunk.start] == citation.quote == statement.text
    if answer.span is not None:
        assert answer.span in answer.statements[0].text


def test_the_stream_is_the_answer() -> None:
    for config in (OPEN, GenerationConfig(refuse_below=1.0)):
        generator = build_generator(config, WordEncoder())
        for question, texts in (("How old is the bridge?", (BRIDGE, KETTLE)), ("水壶的容量？", (CHINESE,))):
            found = retrieved(*texts)
            assert "".join(generator.stream(question, found)) == generator.answer(question, found).text


def test_refuses_below_the_threshold_and_without_passages() -> None:
    strict = build_generator(GenerationConfig(refuse_below=1.0), WordEncoder())
    answer = strict.answer("Who built the bridge?", retrieved(BRIDGE))
    assert (answer.refused, answer.statements, answer.span) == (True, (), None)
    assert answer.text == "The documents do not seem to answer this question."
    assert strict.answer("谁？", retrieved(CHINESE)).text == "文档中似乎没有这个问题的答案。"
    empty = build_generator(OPEN, WordEncoder()).answer("Who?", [])
    assert (empty.refused, empty.confidence) == (True, 0.0)
    assert empty.text == "Nothing in the documents was found for this question."


def test_a_related_passage_without_the_answer_is_less_sure() -> None:
    statistics = TermStatistics.of([KETTLE, BRIDGE, "Rivers flood in spring.", "Tea needs water at 80 degrees."])
    generator = ExtractiveGenerator(OPEN, WordEncoder(), statistics)
    asked = "Who built the old bridge at Corven?"
    held = generator.answer(asked, retrieved(BRIDGE, KETTLE)).confidence
    missing = generator.answer(asked, retrieved(KETTLE, "Rivers flood in spring.")).confidence
    assert held > missing + 0.3


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused_in_one_line(question: str) -> None:
    with pytest.raises(UserError) as caught:
        build_generator(OPEN, WordEncoder()).answer(question, retrieved(KETTLE))
    assert str(caught.value) == 'the question is empty: ask something, such as "What does the with statement do?"'


def test_the_same_sentence_of_overlapping_chunks_is_said_once() -> None:
    answer = build_generator(OPEN, WordEncoder()).answer("How long is the warranty?", retrieved(KETTLE, KETTLE))
    assert len({statement.text for statement in answer.statements}) == len(answer.statements)


def test_a_line_without_end_is_cut_into_pieces() -> None:
    reader = EvidenceReader(WordEncoder(), shipped.sentence_ranker())
    evidence = reader.read("Where is the needle?", retrieved("x" * 4000 + " needle"))
    assert max(len(sentence.text) for sentence in evidence.sentences) <= 1500
    assert sum(len(sentence.text) for sentence in evidence.sentences) == 4007


def test_candidates_begin_and_end_where_phrases_do() -> None:
    question = Question.of("Who built it?")
    words = SentenceWords("It was built in 1871 by Ida Marsh, an engineer.", question, TermStatistics.of([BRIDGE]))
    texts = {words.text[span.start : span.end] for span in candidates(words)}
    assert {"Ida Marsh", "1871", "an engineer"} <= texts
    assert not {"in", "by", "was built in", "of"} & texts


def test_the_table_of_f1_is_that_of_each_pair() -> None:
    bags = [Counter("a b b".split()), Counter("b b c".split()), Counter(["d"]), Counter()]

    def f1(first: Counter[str], second: Counter[str]) -> float:
        common = sum((first & second).values())
        return 2 * common / (sum(first.values()) + sum(second.values())) if common else 0.0

    assert _f1_table(bags).tolist() == [[f1(a, b) for b in bags] for a in bags]


def test_a_lone_quotation_mark_is_left_out() -> None:
    text = 'The keyword "as" binds.'
    assert _without_lone_quote(text, 13, 16) == (13, 15)
    assert _without_lone_quote(text, 12, 15) == (13, 15)
    assert _without_lone_quote(text, 12, 16) == (12, 16)


def test_no_candidates_no_span() -> None:
    question = Question.of("Who?")
    assert choose_span(question, ["..."], [0.0], TermStatistics.of(["a"]), shipped.span_ranker("en")) is None


def test_shipped_constants_say_what_they_come_from() -> None:
    assert "even numbers" in shipped.sentence_ranker().origin["data"]
    assert shipped.span_ranker("zh").origin["data"].startswith("XQuAD-zh")
    assert "fit_extractive" in shipped.default_calibrator().origin


def test_a_similarity_that_the_search_has_found_is_not_computed_again() -> None:
    class Counting(WordEncoder):
        def encode(self, texts: Sequence[str]) -> FloatArray:
            encoded.extend(texts)
            return super().encode(texts)

    encoded: list[str] = []
    reader = EvidenceReader(Counting(), LinearRanker({}))
    first, second = retrieved(KETTLE, BRIDGE)
    computed = reader.read("Who built the bridge?", [first, second])
    known = replace(first, scores={"dense": float(computed.passage_cosines[0])})
    encoded.clear()
    again = reader.read("Who built the bridge?", [known, second])
    assert encoded == ["Who built the bridge?", BRIDGE], "sentences are kept, and one similarity is known"
    np.testing.assert_array_equal(again.passage_cosines, computed.passage_cosines)
