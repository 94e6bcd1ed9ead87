"""`rate` and `votes`: from outputs to a report, and what they say of bad input."""

import json
from pathlib import Path

import pytest

from roadmap_shared.sockets import listen
from text_generation.config.rating import RateConfig, VotesConfig
from text_generation.evaluation.human_evaluation import run_rate, run_votes
from text_generation.evaluation.rating.study import key_path

from .rating_studies import SYSTEMS, error_of, lines_of, outputs, written_study


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    return written_study(tmp_path)


def test_from_outputs_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    texts = tmp_path / "outputs.jsonl"
    rows = [{"prompt": o.prompt, "system": o.system, "text": o.text} for o in outputs(4)]
    texts.write_text("\n".join(map(json.dumps, rows)) + "\n{", "utf-8")
    study = tmp_path / "stories.jsonl"
    answers = iter([*"abt", "q"])
    monkeypatch.setattr("builtins.input", lambda _prompt: next(answers))
    run_rate(RateConfig(study=study, outputs=texts, rater="ann", question="Which reads better?", max_items=9))
    said = capsys.readouterr()
    assert said.err.startswith(f"passed over: {texts}:13: broken JSON")
    assert said.out.startswith(
        f"{study}: 9 items of 3 systems. Who wrote what is in {key_path(study)}: keep it from the raters\n"
    )
    assert not any(name in said.out for name in SYSTEMS)
    answers = iter("a" * 6)
    run_rate(RateConfig(study=study, rater="ann"))
    assert len(lines_of(tmp_path / "stories.votes.jsonl")) == 9
    capsys.readouterr()
    run_votes(VotesConfig(study=study, report=tmp_path / "out" / "votes.html", n_resamples=200))
    said = capsys.readouterr()
    assert said.out.startswith("9 votes of 1 rater on 9 of 9 items, 0 skipped\n")
    assert f"report: {tmp_path / 'out' / 'votes.html'}" in said.out
    assert "Which reads better?" in (tmp_path / "out" / "votes.html").read_text("utf-8")


def test_commands_with_bad_input(study_path: Path, tmp_path: Path):
    missing = tmp_path / "none.jsonl"
    assert error_of(run_rate, RateConfig(study=missing)) == f"{missing}: cannot be read (No such file or directory)"
    votes = study_path.with_suffix(".votes.jsonl")
    assert error_of(run_votes, VotesConfig(study=study_path)) == f"{votes}: cannot be read (No such file or directory)"
    votes.write_text("", "utf-8")
    assert error_of(run_votes, VotesConfig(study=study_path)) == (
        f"{votes}: there is no vote to analyse yet: rate some items first"
    )
    new = tmp_path / "new.jsonl"
    for path in (new, key_path(new), missing):
        assert error_of(run_rate, RateConfig(study=new, outputs=missing, votes=path)) == (
            f"--votes {path}: votes would be added to {path.name}. Name a file of their own."
        )
    assert not new.exists()
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert error_of(run_rate, RateConfig(study=study_path, web=True, port=port)) == (
            f"--port {port}: is taken. Choose another one, or 0 for any that is free"
        )


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (RateConfig, {"question": "why?"}, "--question goes with --outputs: a study that exists has its own"),
        (RateConfig, {"style": "code"}, "--style goes with --outputs: a study that exists has its own"),
        (RateConfig, {"question": " "}, "--question is empty: say what raters are to judge"),
        (RateConfig, {"max_items": 0}, "--max_items 0 must be at least 1, or None for all"),
        (RateConfig, {"port": -1}, "--port -1 is outside 0 … 65535"),
        (RateConfig, {"host": ""}, "--host is empty: give an address, such as 127.0.0.1"),
        (RateConfig, {"web": True, "rater": "x"}, "--rater is for the terminal: on the page, raters type their names"),
        (VotesConfig, {"power": 1.0}, "--power 1.0 must lie between 0 and 1"),
        (VotesConfig, {"n_resamples": 5}, "--n_resamples 5 must be at least 100"),
    ],
)
def test_settings_that_do_not_fit(kind, arguments, message):
    with pytest.raises(ValueError) as caught:
        kind(study=Path("s.jsonl"), **arguments)
    assert str(caught.value) == message
