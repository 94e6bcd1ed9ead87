"""The questions that ship with the project: each can be answered where it says so, and nowhere else."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import Stemmer

from rag_qa.corpus.built_in import built_in_documents
from rag_qa.corpus.guides import guide_documents
from rag_qa.corpus.questions import KINDS, PARTS, QuestionSet, load_questions
from rag_qa.corpus.quotes import without_spaces
from rag_qa.types import Document
from roadmap_shared.errors import UserError

STOP_WORDS = set(
    "a about again all already also am an and another any anything are as at away be been before but by can "
    "cannot could did do does every for from get gets go goes had has have how i if in inside into is isn it "
    "its just me more most must my no nor not now of off on once one or our out over own same should so some "
    "somebody something than that the their them then there these they thing this those to too two up upon us "
    "was we what when where which while who why will with without would yes yet you your t s".split()
)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return built_in_documents()


@pytest.fixture(scope="module")
def questions(documents: list[Document]) -> QuestionSet:
    return load_questions(documents)


def content_stems(text: str) -> set[str]:
    stem = Stemmer.Stemmer("english").stemWord
    return {stem(word) for word in re.findall(r"\w+", text.lower()) if word not in STOP_WORDS}


def n_grams(text: str, n: int = 4) -> set[str]:
    plain = re.sub(r"\W+", " ", text.lower()).strip()
    return {plain[place : place + n] for place in range(max(1, len(plain) - n + 1))}


def test_none_is_dropped(questions: QuestionSet):
    if sys.version_info < (3, 13):
        assert questions.dropped == ()
    else:  # a rewritten topic of a later version costs its questions, not the run
        assert len(questions.dropped) <= 10


def test_there_are_enough_of_each_kind(questions: QuestionSet):
    counts = questions.counts()
    assert set(counts) == set(KINDS)
    assert sum(counts.values()) == len(questions) >= 110
    assert len(questions.answerable) >= 85
    assert len(questions.unanswerable) >= 25
    assert counts["chinese"] >= 10
    assert min(counts.values()) >= 7
    assert len({gold.source for question in questions for gold in question.gold}) >= 50


def test_ids_and_questions_are_unique(questions: QuestionSet):
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.text for question in questions}) == len(questions)
    assert all(question.text.strip() == question.text and question.text[-1] in "?？" for question in questions)


def test_no_two_questions_are_nearly_the_same(questions: QuestionSet):
    grams = [(question.id, n_grams(question.text)) for question in questions]
    for place, (name, own) in enumerate(grams):
        for other, theirs in grams[:place]:
            assert len(own & theirs) / len(own | theirs) < 0.5, (name, other)


def test_every_quote_is_verbatim_short_and_in_one_place_only(questions: QuestionSet, documents: list[Document]):
    by_source = {document.source: document for document in documents}
    condensed = [without_spaces(document.text) for document in documents]
    for question in questions:
        for gold in question.gold:
            assert by_source[gold.source].text[gold.start : gold.end] == gold.quote
            assert len(gold.quote) <= 400, question.id
            assert sum(text.count(without_spaces(gold.quote)) for text in condensed) == 1, question.id


def test_answers_are_short_and_the_first_stands_in_a_quote(questions: QuestionSet):
    for question in questions.answerable:
        assert 1 <= len(question.answers) <= 3, question.id
        assert any(without_spaces(question.answers[0]) in without_spaces(gold.quote) for gold in question.gold)
        assert max(len(answer) for answer in question.answers) <= 90, question.id


def test_multi_passage_questions_have_two_passages_and_the_others_one(questions: QuestionSet):
    for question in questions.answerable:
        assert len(question.gold) == (2 if question.kind == "multi-passage" else 1), question.id


def test_a_paraphrase_shares_no_content_word_with_its_passage(questions: QuestionSet):
    for question in questions:
        if question.kind == "paraphrase":
            quotes = " ".join(gold.quote for gold in question.gold)
            assert content_stems(question.text) & content_stems(quotes) == set(), question.id


def test_questions_are_not_copied_from_their_passages(questions: QuestionSet):
    for question in questions.answerable:
        asked = re.findall(r"\w+", question.text.lower())
        passage = " ".join(re.findall(r"\w+", " ".join(gold.quote for gold in question.gold).lower()))
        runs = (" ".join(asked[place : place + 6]) for place in range(len(asked) - 5))
        assert not any(run in passage for run in runs), question.id


def test_chinese_questions_are_in_chinese_or_about_a_chinese_document(questions: QuestionSet):
    for question in questions:
        if question.kind == "chinese":
            about = any(gold.source.startswith("guides/zh-") for gold in question.gold)
            assert about or re.search("[\u4e00-\u9fff]", question.text), question.id


def test_the_parts_are_fixed_disjoint_and_alike(questions: QuestionSet):
    calibration, test = (questions.part(part) for part in PARTS)
    assert len(calibration) + len(test) == len(questions)
    assert 0.25 <= len(calibration) / len(questions) <= 0.35
    assert {question.text for question in calibration}.isdisjoint(question.text for question in test)
    for part in (calibration, test):
        assert len(part.unanswerable) >= 10
        assert set(part.counts()) == set(KINDS)


def test_no_passage_is_gold_in_both_parts(questions: QuestionSet):
    calibration, test = ({gold for question in questions.part(part) for gold in question.gold} for part in PARTS)
    for gold in calibration:
        for other in test:
            assert gold.source != other.source or gold.end <= other.start or other.end <= gold.start, (gold, other)


def test_no_answerable_question_depends_on_one_document_too_much(questions: QuestionSet):
    most = Counter(gold.source for question in questions for gold in question.gold).most_common(1)[0]
    assert most[1] <= 0.06 * len(questions.answerable), most


def test_an_unknown_part_is_refused(questions: QuestionSet):
    with pytest.raises(ValueError, match=r"^part must be one of calibration, test, not 'train'$"):
        questions.part("train")


def test_questions_about_a_missing_document_are_dropped_with_the_reason(documents: list[Document]):
    fewer = load_questions([document for document in documents if document.source != "python/yield.txt"])
    reasons = {item.id: item.reason for item in fewer.dropped}
    assert reasons["makes-generator"] == "its source 'python/yield.txt' is not among the documents"
    assert all(question.id != "makes-generator" for question in fewer)


def test_an_installation_without_its_files_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    with pytest.raises(UserError) as error:
        load_questions([])
    assert str(error.value) == "the questions are missing from this installation of rag_qa: install the package again"
    with pytest.raises(UserError) as error:
        guide_documents()
    assert str(error.value) == "the guides are missing from this installation of rag_qa: install the package again"
