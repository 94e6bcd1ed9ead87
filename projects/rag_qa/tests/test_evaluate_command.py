"""`rag-qa evaluate` on a SQuAD file, a BEIR folder and questions about an index; two configurations; mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest

from rag_qa.cli import main

from .command_files import facts, write_facts, write_questions

ROWS = facts(12)


def squad(path: Path, *, unanswerable: bool = True) -> Path:
    """Twelve paragraphs with a question each, and two questions that none answers."""
    paragraphs: list[dict[str, Any]] = []
    for n, (_, sentence, question) in enumerate(ROWS):
        answer = next(word for word in sentence.split() if word.isdigit())
        answers = [{"text": answer, "answer_start": sentence.index(f" {answer} ") + 1}]
        qas: list[dict[str, Any]] = [{"id": f"q{n}", "question": question, "answers": answers}]
        if unanswerable and n < 2:
            qas.append({"id": f"u{n}", "question": "Who painted the ceiling?", "answers": [], "is_impossible": True})
        paragraphs.append({"context": sentence, "qas": qas})
    path.write_text(json.dumps({"data": [{"title": "islands", "paragraphs": paragraphs}]}))
    return path


def beir(folder: Path) -> Path:
    """The same as a BEIR folder; two documents have the same text, of which the second is judged, and one has none."""
    (folder / "qrels").mkdir(parents=True)
    texts = [sentence for _, sentence, _ in ROWS]
    documents = [{"_id": f"d{n}", "text": text} for n, text in enumerate([texts[0], *texts])]
    queries = [{"_id": f"q{n}", "text": question} for n, (_, _, question) in enumerate(ROWS)]
    lines = [f"q{n}\td{n + 1}\t1" for n in range(len(ROWS))]
    documents.append({"_id": "empty", "text": ""})
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    return folder


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["evaluate", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["evaluate", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    return said.err.strip().removeprefix("rag-qa evaluate: ")


def test_squad_with_a_second_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, output = tmp_path / "other.yaml", tmp_path / "out.jsonl"
    other.write_text("retrieval:\n  mode: sparse\n  k: 1\n")
    said = evaluated(capsys, str(squad(tmp_path / "s.json")), "--against", str(other), "--output", str(output))
    lines = said.splitlines()
    assert lines[0] == "s: 12 documents in 12 chunks, 14 questions, 2 of them unanswerable"
    assert lines[2].split() == ["12", "questions,", "documents", "ndcg@10", "recall@5", "recall@10", "mrr"]
    assert lines[3].startswith("BM25                     1.000 [0.")
    assert [line.partition("  ")[0] for line in lines[3:6]] == ["BM25", "embeddings", "both, fused"]
    assert "12 questions with an answer" in said
    assert "questions that the documents do not answer" in said
    assert "the same questions, their passages taken out" in said
    assert f"\n{other}: retrieval.mode: 'hybrid' → 'sparse'; retrieval.k: 5 → 1\n" in said
    assert "; of 12 questions " in said
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [record["id"] for record in records[:3]] == ["q0", "u0", "q1"]
    first, unanswerable = records[0], records[1]
    assert set(first["first"]["retrieval"]) == {"sparse", "dense", "fused"}
    assert set(first["second"]["retrieval"]) == {"sparse"}
    assert first["first"]["retrieval"]["sparse"]["ndcg@10"] == 1.0
    assert first["first"]["answer"]["answer_in_context"] == 1.0
    assert set(first["second_is"].values()) <= {"better", "worse", "equal"}
    assert "retrieval" not in unanswerable["first"]
    assert "answer_f1" not in unanswerable["first"]["answer"]


def test_word_counting_is_part_of_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("sparse:\n  stemming: false\n")
    arguments = (str(squad(tmp_path / "s.json")), "--against", str(other), "--answers", "False")
    said = evaluated(capsys, *arguments, "--retrieval.mode", "sparse", "--sparse.k1", "0.9")
    assert f"\n{other}: " in said
    assert "sparse.k1: 0.9 → 1.2; sparse.stemming: True → False" in said


def test_every_question_answerable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = squad(tmp_path / "s.json", unanswerable=False)
    said = evaluated(capsys, str(path), "--evaluation.limit", "3", "--retrieval.mode", "dense")
    assert "s: 12 documents in 12 chunks, 3 questions\n" in said
    assert "questions that the documents do not answer" not in said
    assert "BM25" not in said
    assert "unanswerable" not in said


def test_beir_keeps_documents_with_equal_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.jsonl"
    said = evaluated(capsys, str(beir(tmp_path / "isles")), "--output", str(output))
    assert said.startswith("isles: 14 documents in 13 chunks, 12 questions\n")
    assert "answers: the questions come without answers\n" in said
    first = json.loads(output.read_text().splitlines()[0])
    assert first["first"]["retrieval"]["sparse"]["recall@3"] == 1.0  # d1, whose text d0 has as well
    assert "answer" not in first["first"]


def test_questions_about_an_index_of_every_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs, index = write_facts(tmp_path / "docs", ROWS), str(tmp_path / "index")
    assert main(["ingest", str(docs), "--index", index, "--groups", "board"]) == 0
    questions = write_questions(tmp_path / "q.yaml", ROWS, lambda n: "test" if n < 8 else "calibration")
    capsys.readouterr()
    said = evaluated(capsys, str(questions), "--index", index, "--retrieval.mmr", "0.9")
    assert said.startswith("q: 12 documents in 12 chunks, 11 questions, 3 of them unanswerable\n")
    assert "8 questions, passages" in said
    assert "\nreranked " in said
    other = tmp_path / "other.yaml"
    other.write_text("retrieval:\n  fusion: rrf\n")
    said = evaluated(capsys, str(questions), "--index", index, "--against", str(other), "--answers", "False")
    assert said.count("answers: not asked for\n") == 2
    assert "\nndcg@10: " in said
    assert "answer_f1" not in said
    only_one = write_questions(tmp_path / "one.yaml", ROWS, lambda n: "calibration")
    assert refused(capsys, str(only_one), "--index", index) == (
        f"{only_one}: no question says 'part: test': all 15 say 'part: calibration'"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.json"], "gone.json: no such file or folder"),
        (["q.yaml"], "q.yaml: say by --index which index these questions are about"),
        (["q.yaml", "--index", "gone"], "gone: holds no index: make one with `rag-qa ingest DOCUMENTS --index gone`"),
        (["s.json", "--index", "gone"], "--index goes with questions in YAML; s.json has documents of its own"),
        (["s.json", "--against", "gone.yaml"], "--against gone.yaml: no such file"),
        (["s.json", "--against", "bad.yaml"], "bad.yaml: unknown setting 'retrieval.knn'"),
        (["s.json", "--output", "gone/out.jsonl"], "--output gone/out.jsonl: there is no folder gone"),
        (["empty.json"], "empty.json: expected an object with a list 'data', as SQuAD's files have"),
        (["folder"], "folder/corpus.jsonl: cannot be read (No such file or directory); a BEIR folder holds "
                     "corpus.jsonl, queries.jsonl and qrels/test.tsv"),
        (["none.json"], "no question has a known passage or document, so that there is nothing to find"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    squad(Path("s.json"))
    Path("folder").mkdir()
    for name, text in {
        "q.yaml": "[]",
        "bad.yaml": "retrieval:\n  knn: 3\n",
        "empty.json": "[]",
        "none.json": json.dumps(
            {"data": [{"paragraphs": [{"context": "Sky.", "qas": [{"id": "a", "question": "Who?", "answers": []}]}]}]}
        ),
    }.items():
        Path(name).write_text(text)
    if arguments == ["none.json"]:  # comes behind the progress of indexing
        assert main(["evaluate", *arguments]) == 2
        assert capsys.readouterr().err.endswith(f"rag-qa evaluate: {message}\n")
        return
    assert refused(capsys, *arguments).startswith(message)
