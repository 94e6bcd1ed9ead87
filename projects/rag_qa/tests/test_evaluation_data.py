"""BEIR folders and SQuAD-format files: what is read, and what a broken one is told."""

import json
import os
from math import log2
from pathlib import Path
from typing import Any

import pytest

from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.beir import load_beir
from rag_qa.evaluation.evaluation_set import document_ranking, gold_qrels, gold_ranking, holds
from rag_qa.evaluation.retrieval_metrics import evaluate_rankings
from rag_qa.evaluation.squad import load_squad
from rag_qa.types import Chunk
from roadmap_shared.errors import UserError

CORPUS = '{"_id": "d1", "title": "Sky", "text": "It is blue."}\n\n{"_id": 2, "text": ""}\n'
QUERIES = '{"_id": "q1", "text": "Which colour?"}\n{"_id": "q2", "text": "Unjudged?"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\r\nq1\t2\t0\nq1\tgone\t1\nq9\td1\t1\n"


def beir(folder: Path, **files: str) -> Path:
    content = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS, **files}
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def test_a_beir_folder(tmp_path: Path) -> None:
    data = load_beir(beir(tmp_path / "sky"))
    assert data.name == "sky"
    assert [(document.source, document.title, document.text) for document in data.documents] == [
        ("d1", "Sky", "Sky\n\nIt is blue."),
        ("2", "2", ""),
    ]
    heading = data.documents[0].headings[0]
    assert data.documents[0].text[heading.start : heading.end] == heading.title == "Sky"
    assert [(question.id, question.text) for question in data.questions] == [("q1", "Which colour?")]
    assert data.qrels == {"q1": {"d1": 2, "2": 0, "gone": 1}}
    assert data.notes == (
        "1 judgements are of documents that are not in corpus.jsonl",
        "1 judged questions are not in queries.jsonl",
    )
    assert (len(data.first(None).questions), len(data.first(0).questions)) == (1, 0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"corpus.jsonl": '{"_id": "a", "text": "x"}\n{"_id": '}, "corpus.jsonl:2: broken JSON (Expecting value)"),
        ({"corpus.jsonl": "[1]"}, 'corpus.jsonl:1: expected an object such as {"_id": …, "text": …}, found \'[1]\''),
        ({"corpus.jsonl": '{"text": "x"}'}, "corpus.jsonl:1: '_id' is missing"),
        ({"corpus.jsonl": '{"_id": "a", "text": 1}'}, "corpus.jsonl:1: 'text' must be text, not 1"),
        ({"corpus.jsonl": '{"_id": "a", "text": "x", "title": 1}'}, "corpus.jsonl:1: 'title' must be text, not 1"),
        ({"corpus.jsonl": CORPUS * 2}, "corpus.jsonl:4: the document 'd1' stands in the file twice"),
        ({"corpus.jsonl": "\n"}, "corpus.jsonl: holds no document"),
        ({"queries.jsonl": '{"_id": "q", "text": " "}'}, "queries.jsonl:1: 'text' is empty"),
        (
            {"qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\tyes"},
            "qrels/test.tsv:2: expected a query id, a document id and a whole number as grade, separated by tabs, "
            "found 'q1\\td1\\tyes'",
        ),
        (
            {"queries.jsonl": QUERIES + QUERIES},
            "queries.jsonl:3: the question 'q1' stands in the file twice",
        ),
        *(
            (
                {"qrels/test.tsv": f"q1\td1\t1\nq1\t2\t{grade}"},
                "qrels/test.tsv:2: expected a query id, a document id and a whole number as grade, separated by tabs, "
                f"found 'q1\\t2\\t{grade}'",
            )
            for grade in ("--1", "1.0", "²", "12345678901")
        ),
        (
            {"qrels/test.tsv": "q1\td1\t1\nq1\td1\t1\nq1\td1\t2"},
            "qrels/test.tsv:3: the document 'd1' is judged 2 for the question 'q1', and 1 above",
        ),
        (
            {"qrels/test.tsv": "q1 0 d1 1"},
            ": no question of queries.jsonl has a judgement in qrels/test.tsv",
        ),
        ({"qrels/test.tsv": "q7\td1\t1"}, ": no question of queries.jsonl has a judgement in qrels/test.tsv"),
    ],
)
def test_a_broken_beir_folder(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_beir(beir(tmp_path, **files))
    assert str(caught.value).removeprefix(str(tmp_path)).lstrip("/") == message


def test_what_is_missing_from_a_beir_folder(tmp_path: Path) -> None:
    folder = beir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_beir(folder, "dev")
    assert str(caught.value) == f"{folder}/qrels/dev.tsv: no such file; there is test: choose by --evaluation.split"
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(UserError) as caught:
        load_beir(folder)
    assert str(caught.value) == f"{folder}/qrels/test.tsv: no such file; the folder qrels holds no .tsv file"
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "a", "text": "x"}\n\xff')
    beir(folder / "other")
    (folder / "other" / "corpus.jsonl").unlink()
    for path, problem in (
        (folder, "corpus.jsonl:2: not UTF-8"),
        (
            folder / "other",
            "corpus.jsonl: cannot be read (No such file or directory); a BEIR folder holds corpus.jsonl, queries.jsonl "
            "and qrels/test.tsv",
        ),
    ):
        beir_files = path / "qrels"
        (beir_files / "test.tsv").write_text(QRELS, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            load_beir(path)
        assert str(caught.value) == f"{path}/{problem}"


def test_odd_ids_grades_and_line_ends(tmp_path: Path) -> None:
    ids = ["a b", "ü/文.txt", "7", "-1", "#", "d'oh", "x" * 300]
    corpus = [json.dumps({"_id": int(id) if id == "7" else id, "title": None, "text": f"text {id}"}) for id in ids]
    folder = beir(
        tmp_path,
        **{
            "corpus.jsonl": "\ufeff" + "\r\n".join(corpus),
            "queries.jsonl": '{"_id": 12, "text": "a?", "metadata": {}}\r\n{"_id": "q\u2028 1", "text": "b\\n?"}\r\n',
            # No line of names, and the first line blank.
            "qrels/test.tsv": "\n12\ta b\t3\r\n12\tü/文.txt\t-1\r\nq\u2028 1\t7\t 0\r\nq\u2028 1\tgone\t2",
        },
    )
    data = load_beir(folder)
    assert [document.source for document in data.documents] == ids
    assert data.qrels == {"12": {"a b": 3, "ü/文.txt": -1}, "q\u2028 1": {"7": 0, "gone": 2}}
    assert data.notes == ("1 judgements are of documents that are not in corpus.jsonl",)
    scores = evaluate_rankings({"12": ["ü/文.txt", "a b"]}, data.qrels, (1, 2))
    assert scores.of("ndcg@2") == pytest.approx({"12": 1 / log2(3), "q\u2028 1": 0.0})


CONTEXT = "Paris lies on the Seine. It has 20 districts, e.g. Passy. More follows."


def qa(name: str, *answers: tuple[str, int], **others: Any) -> dict[str, Any]:
    return {
        "id": name,
        "question": f"{name}?",
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
        **others,
    }


def squad(path: Path, *paragraphs: dict[str, Any], **article: Any) -> Path:
    data = {"version": "1", "data": [{"title": "Paris", "paragraphs": list(paragraphs), **article}]}
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def test_a_squad_file(tmp_path: Path) -> None:
    path = squad(
        tmp_path / "s.json",
        {
            "context": CONTEXT,
            "qas": [
                qa("q1", ("20", 32), ("20 districts", 32), ("20", 32)),
                qa("q2", ("on theSeine. It", 99)),
                qa("q3", ("London", 0)),
                qa("q4", is_impossible=True, plausible_answers=[]),
            ],
        },
        {"context": CONTEXT, "qas": [qa("q5", ("Paris", 0))]},
        {"context": "法国的首都是巴黎。很美。", "id": "x", "qas": [qa("q6", ("巴黎。", 6), is_impossible=False)]},
        {
            "context": "Nothing of that sort.",
            "qas": [
                qa("q7"),  # as SQuAD 1.1 would have it
                {"id": 8, "question": "q8?", "is_impossible": True},
                qa("q9", ("Nothing", 0), is_impossible=True),
            ],
        },
    )
    data = load_squad(path)
    assert [(document.source, document.text[:5]) for document in data.documents] == [
        ("Paris/1", "Paris"),
        ("Paris/3", "法国的首都"),
        ("Paris/4", "Nothi"),
    ]
    first, second, third, fourth, fifth, sixth, *unanswerable = data.questions
    assert (first.answers, first.relevant, first.text) == (("20", "20 districts"), {"Paris/1": 1}, "q1?")
    assert first.gold[0] == Gold(source="Paris/1", start=25, end=57, quote="It has 20 districts, e.g. Passy.")
    assert second.gold[0].quote == CONTEXT[:57]
    assert (third.answers, third.gold, third.answerable) == (("London",), (), True)
    assert (fourth.answers, fourth.gold, fourth.relevant, fourth.answerable) == ((), (), {}, False)
    assert fifth.relevant == {"Paris/1": 1}
    assert sixth.gold[0].quote == "法国的首都是巴黎。"
    assert [(one.id, one.answers, one.gold, one.relevant, one.answerable) for one in unanswerable] == [
        (id, (), (), {}, False) for id in ("q7", "8", "q9")
    ]
    assert data.notes == (f"{path}: data[0].paragraphs[0].qas[2]: no answer of question 'q3' stands in its paragraph",)
    assert data.name == "s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data":\n [', ":2: broken JSON (Expecting value, column 3)"),
        ("[" * 100_000, ": broken JSON (nested too deeply or too large a number)"),
        ("[]", ": expected an object with a list 'data', as SQuAD's files have"),
        ('{"data": [1]}', ": data[0]: expected an object, found '1'"),
        ('{"data": [{}]}', ": data[0]: 'paragraphs' is missing"),
        ('{"data": [{"paragraphs": 1}]}', ": data[0]: 'paragraphs' must be a list"),
        ('{"data": [{"paragraphs": [{"context": ""}]}]}', ": data[0].paragraphs[0]: 'context' is empty"),
        ('{"data": [{"paragraphs": [{"context": " "}]}]}', ": data[0].paragraphs[0]: 'context' is empty"),
        ('{"data": [{"paragraphs": []}]}', ": holds no question"),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [\n{"id": "q1", "question": "q",\n "answers": 1}]}]}]}',
            ": data[0].paragraphs[0].qas[0]: 'answers' must be a list",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [\n{"id": "q1"}]}]}]}',
            ":2: data[0].paragraphs[0].qas[0]: 'question' is missing",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [\n{"id": "q1", "question": "q", "answers": '
            '[{"text": "c", "answer_start": "0"}]}]}]}]}',
            ":2: data[0].paragraphs[0].qas[0].answers[0]: 'answer_start' must be a whole number, not '0'",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [\n{"id": "q1", "question": "q", "answers": []},\n'
            '{"id": "q1", "question": "q", "answers": []}]}]}]}',
            ":2: data[0].paragraphs[0].qas[1]: the id 'q1' is taken by another question",
        ),
    ],
)
def test_a_broken_squad_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_squad(path)
    assert str(caught.value) == f"{path}{message}"


def test_a_squad_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_squad(tmp_path / "s.json")
    assert str(caught.value) == (
        f"{tmp_path}/s.json: cannot be read (No such file or directory); expected JSON as "
        '{"data": [{"paragraphs": [{"context": …, "qas": […]}]}]}'
    )


def chunk(source: str, start: int, end: int) -> Chunk:
    return Chunk(source=source, start=start, end=end, text="x" * (end - start), page=1)


def test_ranks_of_documents_and_of_gold_passages() -> None:
    chunks = [chunk("b", 0, 10), chunk("a", 0, 12), chunk("a", 8, 30), chunk("a", 5, 40)]
    assert document_ranking(chunks) == ["b", "a"]
    gold = (Gold(source="a", start=2, end=10, quote="x"), Gold(source="a", start=10, end=20, quote="x"))
    assert gold_ranking(chunks, gold) == ["other:0", "gold:0", "gold:1", "other:3"]
    assert gold_ranking(chunks, gold, share=0.2) == ["other:0", "gold:0", "gold:1", "other:2", "other:3"]
    scores = evaluate_rankings({"q": gold_ranking(chunks, gold)}, {"q": gold_qrels(gold)}, (1, 3))
    assert (scores.mean("recall@1"), scores.mean("recall@3"), scores.mean("mrr")) == (0, 1, 1 / 2)
    assert holds(chunk("a", 6, 30), gold[0], share=0.5)
    assert not holds(chunk("a", 7, 30), gold[0], share=0.5)
    assert not holds(chunk("a", 20, 30), gold[1], share=0.0)
    assert not holds(chunk("b", 0, 30), gold[0])


@pytest.mark.skipif("ROADMAP_DATA" not in os.environ, reason="ROADMAP_DATA is not set: no real data to read")
@pytest.mark.parametrize(
    ("name", "documents", "questions", "without_gold"),
    [
        ("xquad/xquad.en.json", 240, 1190, 0),
        ("xquad/xquad.zh.json", 240, 1190, 0),
        ("cmrc2018/cmrc2018_dev.json", 848, 3219, 20),
    ],
)
def test_real_files(name: str, documents: int, questions: int, without_gold: int) -> None:
    data = load_squad(Path(os.environ["ROADMAP_DATA"]) / name)
    assert (len(data.documents), len(data.questions)) == (documents, questions)
    assert sum(not question.gold for question in data.questions) <= without_gold
    texts = {document.source: document.text for document in data.documents}
    for question in data.questions:
        for gold in question.gold:
            assert texts[gold.source][gold.start : gold.end] == gold.quote
