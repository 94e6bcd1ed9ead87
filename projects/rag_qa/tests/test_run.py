"""The real `run` command on small folders: its figures, its report, its cache, and what is left in its folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from rag_qa.cli import main
from rag_qa.retrieval.embedding_cache import CachedEncoder

from .command_files import facts, write_facts, write_questions

ROWS = facts(36)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_facts(tmp_path_factory.mktemp("run") / "docs", ROWS)


def latest(root: Path) -> Path:
    return root / "rag_qa" / "latest"


def summary_of(root: Path) -> dict[str, Any]:
    return json.loads((latest(root) / "summary.json").read_text())


@pytest.fixture(scope="module")
def finished(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run on questions about these documents that has ended."""
    root = tmp_path_factory.mktemp("runs")
    questions = write_questions(root / "q.yaml", ROWS, lambda n: "calibration" if n % 2 else "test")
    flags = ["--data.questions", str(questions), "--run.root", str(root)]
    assert main(["run", "--data.path", str(docs), *flags]) == 0
    return root


def test_the_summary_begins_with_the_headline_and_has_intervals_and_baselines(finished: Path) -> None:
    summary = summary_of(finished)
    assert summary["project"] == "rag_qa"
    figures = [
        name for name in summary if name not in ("project", "command", "config", "seed", "seconds", "peak_memory_mb")
    ]
    assert figures[:3] == ["ndcg_at_10", "ndcg_at_10_low", "ndcg_at_10_high"]
    assert figures[-2:] == ["documents", "chunks"]
    assert summary["documents"] == summary["chunks"] == 36
    for name in ("ndcg_at_10", "answer_f1", "recall_at_5", "mrr", "answer_in_sentences", "refusal_auroc_removed",
                 "refusal_auroc_unanswerable"):  # fmt: skip
        assert 0 <= summary[f"{name}_low"] <= summary[name] <= summary[f"{name}_high"] <= 1
    assert 0 < summary["baseline_ndcg_at_10_sparse"] <= 1
    assert 0 < summary["baseline_ndcg_at_10_dense"] <= 1
    counted = [summary[f"answerable_{name}"] for name in ("right", "wrong", "refused")]
    assert sum(counted) == 18
    assert summary["verbatim"] == 1.0


def test_the_report_shows_every_part(finished: Path) -> None:
    page = (latest(finished) / "report.html").read_text()
    for title in ("Which search finds the passages", "How good the answers are", "Knowing when there is no answer",
                  "Why did I miss it?", "Samples", "Instructions hidden in documents",
                  "The documents and the questions", "What to try next"):  # fmt: skip
        assert title in page
    for name in ("recall", "risk_coverage"):
        assert list((latest(finished) / "figures").glob(f"{name}.*"))
    answers = [json.loads(line) for line in (latest(finished) / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 22
    assert all(one["citations"] for one in answers)
    for line in (latest(finished) / "misses.jsonl").read_text().splitlines():
        assert json.loads(line)["stage"]


def test_what_a_run_leaves_can_be_asked(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = latest(finished) / "index"
    assert json.loads((index / "refusal.json").read_text())["origin"].startswith("22 questions about 36 documents of ")
    capsys.readouterr()
    assert main(["ask", ROWS[5][2], "--index", str(index)]) == 0
    assert ROWS[5][0] in capsys.readouterr().out


def test_a_second_run_on_made_questions_takes_the_vectors_of_the_first(
    finished: Path, docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[tuple[int, int]] = []
    real = CachedEncoder.close

    def closing(cache: CachedEncoder) -> None:
        counted.append((cache.hits, cache.misses))
        real(cache)

    monkeypatch.setattr(CachedEncoder, "close", closing)
    flags = ["--run.root", str(finished), "--evaluation.limit", "6"]
    assert main(["run", "--data.path", str(docs), *flags]) == 0
    assert counted == [(len(ROWS), 0)]
    said = capsys.readouterr().out
    summary = summary_of(finished)
    assert f"\nndcg_at_10 {summary['ndcg_at_10']:.4g} [" in said
    assert "refusal_auroc_unanswerable" not in summary
    # Six made questions are too few to fit refusal on; the run goes on without.
    assert "\ntoo few questions to calibrate refusal on: 6; it is as shipped\n" in said
    assert not (latest(finished) / "index" / "refusal.json").exists()
    assert "It is the one that comes with the package" in (latest(finished) / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.path", "gone"], "gone: cannot be read: No such file or directory"),
        (["--data.path", "empty"], "empty: no file in it can be read as a document"),
        (["--data.questions", "q.yaml"], "--data.questions goes with --data.path: give the documents that the "
                                         "questions are about"),
        (["--evaluation.limit", "0"], "--evaluation.limit 0 must be at least 1, or None for all questions"),
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
    Path("empty").mkdir()
    assert main(["run", "--run.root", "runs", *arguments]) == 2
    assert capsys.readouterr().err == f"rag-qa run: {message}\n"
