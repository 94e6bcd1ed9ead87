"""The benchmark scripts run; what they measure is for the README, not for a test."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TOPICS = ("kettle", "bridge", "mill", "harbour", "tower", "garden", "clock", "ferry")


def output_of(script: str, *arguments: str, data: Path | None = None) -> list[str]:
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    if data is not None:
        environment["ROADMAP_DATA"] = str(data)
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder laid out as the public sets are."""
    paragraphs = [
        {
            "context": f"The {topic} of Corven was built in {1800 + number} by Ida Marsh. It is painted green.",
            "qas": [{"id": topic, "question": f"When was the {topic} built?", "answers": [
                {"text": str(1800 + number), "answer_start": 26 + len(topic)}
            ]}],
        }
        for number, topic in enumerate(TOPICS)
    ]  # fmt: skip
    (tmp_path / "xquad").mkdir()
    text = json.dumps({"data": [{"title": "Corven", "paragraphs": paragraphs}]})
    (tmp_path / "xquad" / "xquad.en.json").write_text(text, encoding="utf-8")
    return tmp_path


def test_retrieval_quality_compares_searches_on_a_public_set(data: Path) -> None:
    cache = str(data / "vectors.sqlite")
    title, *rows = [line for line in output_of("retrieval_quality.py", "xquad-en", "--cache", cache, data=data) if line]
    assert title == "xquad-en: 8 passages, 8 questions"
    assert [row[2:20].strip() for row in rows] == ["bm25s as it comes", "sparse", "dense", "hybrid", "hybrid, rrf"]
    assert all(re.search(r"nDCG@10 1\.0000 .*recall@5 1\.0000", row) for row in rows)


def test_embedding_throughput_takes_turns_on_the_same_texts(data: Path) -> None:
    quality = str(data / "xquad" / "xquad.en.json")
    sizes, *rows = output_of("embedding_throughput.py", "--documents", "1", "--rounds", "1", "--quality", quality)
    assert sizes == "1 documents of 254 tokens and two special ones, one thread"
    assert [row.split()[0] for row in rows] == ["torch", "onnx", "onnx_int8"]
    assert all(re.search(r"documents / CPU s +\d+\.\d\d x torch  nDCG@10 1\.0000$", row) for row in rows)


def test_vector_search_finds_what_the_flat_scan_finds() -> None:
    table = output_of("vector_search.py", "--count", "21000", "--sentences", "60")
    rows = [line for line in table if re.match(r"\| .* \| \d", line)]
    assert rows
    assert all(float(row.split("|")[5]) >= 0.95 for row in rows), table


def test_what_needs_a_public_set_says_so_where_it_is_not(tmp_path: Path) -> None:
    for script, *arguments in (
        ["retrieval_quality.py"],
        ["pdf_reading.py"],
        ["answer_quality.py", "--sets", "xquad-en"],
    ):
        command = [sys.executable, str(BENCHMARKS / script), *arguments]
        environment = dict(os.environ, ROADMAP_DATA=str(tmp_path), TMPDIR=str(tmp_path))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert done.returncode == 77, done.stderr
        last = done.stderr.splitlines()[-1]
        assert re.fullmatch(rf"{script}: not measured: {tmp_path}/[\w./]+ is not there", last)


def test_pdf_reading_counts_pages(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "two.pdf"))
    for page in range(2):
        canvas.drawString(72, 720, f"Page {page} of the harbour's rules.")
        canvas.showPage()
    canvas.save()
    (tmp_path / "damaged.pdf").write_bytes(b"%PDF-1.4 and no more")
    table = output_of("pdf_reading.py", str(tmp_path), "--rounds", "1")
    assert table[0] == "1 files, 2 pages, fastest of 1 rounds"
    assert [line.split()[0] for line in table[1:4]] == ["reader", "rag_qa", "raw"]


def test_question_latency_asks_an_index_on_the_disk(tmp_path: Path) -> None:
    arguments = ("--chunks", "120", "--sentences", "40", "--questions", "3", "--folder", str(tmp_path / "index"))
    table = output_of("question_latency.py", *arguments)
    assert table[0].startswith("120 chunks, 3 questions; opened in ")
    assert table[-1] == "recall@10 of the flat scan's ten: 1.0000"
    assert output_of("question_latency.py", *arguments)[0].startswith("120 chunks, 3 questions"), "kept and used again"
