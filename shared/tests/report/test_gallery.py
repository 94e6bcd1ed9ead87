import json
from pathlib import Path

import pytest

from roadmap_shared.report import render_gallery


@pytest.fixture
def add_run(tmp_path: Path):
    """Writes a project's latest run."""

    def add(project: str, summary: object, report: bool = True) -> None:
        folder = tmp_path / project / "latest"
        folder.mkdir(parents=True)
        text = summary if isinstance(summary, bytes) else json.dumps(summary).encode()
        (folder / "summary.json").write_bytes(text)
        if report:
            (folder / "report.html").write_text("<html></html>")

    return add


def test_projects_that_have_not_run_name_their_commands(tmp_path: Path, page) -> None:
    parsed = page(render_gallery(tmp_path))
    assert parsed.all_in("code") == [f"make project-{n}" for n in range(1, 7)]
    assert "0 of 6 projects have a finished run" in parsed.text_in(".lede")
    assert "a" not in parsed.tags()


def test_cards_show_headlines_with_intervals_and_link_the_report(tmp_path: Path, add_run, page) -> None:
    loss = {
        "val_loss": 1.61842,
        "val_loss_low": 1.59718,
        "val_loss_high": 1.64011,
        "baseline_val_loss": 2.471,
    }
    add_run("transformer_from_scratch", {**loss, "seconds": 185.2, "seed": 3})
    add_run("bert_sentiment", {"accuracy": 0.91, "macro_f1": 0.905})
    add_run("text_generation", {"bits_per_byte": 1.25})
    add_run("rag_qa", {"ndcg_at_10": 0.5, "answer_f1": 0.25})
    add_run("model_optimization", {"best_speedup": 3.4, "best_accuracy": 0.9})
    add_run("multimodal", {"clip_zero_shot_accuracy": 0.8, "caption_exact": 0.7, "vqa_accuracy": 0.6})
    parsed = page(render_gallery(tmp_path))
    values = ["1.618", "0.91", "0.905", "1.25", "0.5", "0.25", "3.4×", "0.9", "0.8", "0.7", "0.6"]
    assert "".join(parsed.all_in(".value")) == "".join(values)
    assert parsed.all_in(".interval") == ["1.597 to 1.640"]
    assert parsed.all_in(".note") == ["baseline 2.471"]
    assert parsed.all_in(".foot")[:3] == ["Open the report", "3 min 05 s", "seed 3"]
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert links[0] == "transformer_from_scratch/latest/report.html"
    assert len(links) == 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"val_loss": 1.6', "Expecting ',' delimiter"),
        (b"[1, 2]", "an object is expected, not list"),
        (b"\xff\xfe", "codec can't decode"),
        (b"", "Expecting value"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_damaged_summary_says_so_and_spares_the_other_cards(tmp_path, add_run, page, content, reason) -> None:
    add_run("transformer_from_scratch", content)
    add_run("text_generation", {"bits_per_byte": 1.25})
    parsed = page(render_gallery(tmp_path))
    state = parsed.text_in(".damaged")
    assert "summary.json cannot be read" in state
    assert reason in state
    assert "make project-1" in state
    assert parsed.all_in(".value") == ["1.25"]


def test_run_without_summary_or_report_says_so(tmp_path: Path, page) -> None:
    (tmp_path / "rag_qa" / "latest").mkdir(parents=True)
    state = page(render_gallery(tmp_path)).text_in(".damaged")
    assert "(No such file or directory)" in state
    assert "This run has no report.html." in state


@pytest.mark.parametrize("value", [None, "1.6", True, [1.6], float("nan"), 10**400])
def test_headline_that_is_no_number_is_a_dash(tmp_path: Path, add_run, page, value) -> None:
    add_run("transformer_from_scratch", {"val_loss": value, "seconds": value, "seed": value})
    parsed = page(render_gallery(tmp_path))
    assert parsed.all_in(".value") == ["–"]
    assert parsed.all_in(".note") == ["no number under val_loss"]
    assert parsed.all_in(".foot") == ["Open the report"]


def test_hostile_summary_stays_text(tmp_path: Path, add_run, page) -> None:
    add_run("transformer_from_scratch", b'{"<script>alert(1)</script>": ')
    add_run("text_generation", {"bits_per_byte": "<script>"})
    assert "script" not in page(render_gallery(tmp_path)).tags()
