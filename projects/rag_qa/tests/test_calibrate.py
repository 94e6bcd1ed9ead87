"""`rag-qa calibrate`: what it prints and keeps, and that answers from the index use it."""

import json
from pathlib import Path

import numpy as np
import pytest

from rag_qa.assistant import calibrator_of
from rag_qa.cli import main
from rag_qa.config import GenerationConfig
from rag_qa.document_processor.index import Index
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.refusal_features import NAMES
from roadmap_shared.errors import UserError

from .command_files import facts, write_facts, write_questions

ROWS = facts(32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    path = folder / "index"
    assert main(["ingest", str(write_facts(folder / "docs", ROWS)), "--index", str(path)]) == 0
    return path


def test_made_questions(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (index / "refusal.json").unlink(missing_ok=True)
    capsys.readouterr()
    assert main(["calibrate", "--index", str(index), "--risks", "0.3", "0.05"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("32 questions made of the documents' sentences: 64 examples\n")
    assert "\ncalibrated on these documents " in said
    assert "\nas it comes with the package " in said
    assert said.index("at most 5%") < said.index("at most 30%")
    assert "Made questions share more words" in said
    assert said.endswith(f"kept in {index / 'refusal.json'}, and used whenever this index is asked\n")
    kept = json.loads((index / "refusal.json").read_text())
    assert kept["n_examples"] == 64
    assert kept["features"] == list(NAMES)
    assert "harbour" not in (index / "refusal.json").read_text()


def test_questions_of_ones_own_and_what_is_asked_afterwards(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(tmp_path / "q.yaml", ROWS, lambda n: "calibration" if n < 16 else "test")
    ask = ["ask", ROWS[20][2], "--index", str(index), "--json", "True"]
    (index / "refusal.json").unlink(missing_ok=True)
    capsys.readouterr()
    assert main(ask) == 0
    before = json.loads(capsys.readouterr().out)["confidence"]
    assert main(["calibrate", "--index", str(index), "--questions", str(questions)]) == 0
    assert capsys.readouterr().out.startswith("23 questions of q.yaml: 39 examples\n")
    assert main(ask) == 0
    after = json.loads(capsys.readouterr().out)["confidence"]
    assert before != after > 0.5
    # The file that is named wins, and the package's own can be named.
    named = tmp_path / "named.json"
    named.write_text((index / "refusal.json").read_text().replace('"intercept"', '"intercept": 0.0, "was"'))
    assert main([*ask, "--generation.calibration", str(named)]) == 0
    assert json.loads(capsys.readouterr().out)["confidence"] not in (before, after)


def test_which_calibration_counts(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((40, len(NAMES)))
    fitted = Calibrator.fit_features(features, features[:, 0] > 0, [str(n) for n in range(40)], origin="a test")

    class Held:
        folder = tmp_path

    index = Held()
    assert calibrator_of(index, GenerationConfig()) is None  # type: ignore[arg-type]
    fitted.save(tmp_path / "refusal.json")
    own = calibrator_of(index, GenerationConfig())  # type: ignore[arg-type]
    assert own is not None
    assert own.origin == "a test"
    with pytest.raises(UserError, match=r"gone\.json: no such calibration of refusal"):
        calibrator_of(index, GenerationConfig(calibration="gone.json"))  # type: ignore[arg-type]
    Held.folder = None  # type: ignore[assignment]
    assert calibrator_of(index, GenerationConfig()) is None  # type: ignore[arg-type]


def test_a_damaged_calibration_is_named(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = index / "refusal.json"
    path.write_text('{"features": ')
    capsys.readouterr()
    assert main(["ask", "Who?", "--index", str(index)]) == 2
    line = f"rag-qa ask: {path} holds no calibration of refusal. Calibrate again: `rag-qa calibrate`.\n"
    assert capsys.readouterr().err == line
    path.unlink()
    path.mkdir()
    assert main(["ask", "Who?", "--index", str(index)]) == 2
    assert f"{path}: cannot be read: Is a directory. Calibrate again: `rag-qa calibrate`.\n" in capsys.readouterr().err
    path.rmdir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "gone"], "gone: holds no index: make one with `rag-qa ingest DOCUMENTS --index gone`"),
        (["--n_made", "3"], "--n_made 3 must be at least 30"),
        (["--risks", "0"], "--risks 0 must lie between 0 and 1"),
        (["--questions", "gone.yaml"], "cannot read the questions gone.yaml: No such file or directory"),
        (["--questions", "few.yaml"], "refusal cannot be calibrated on 5 answerable and 6 unanswerable questions: at "
                                      "least 10 of each are needed. Give more questions with their passages, or more "
                                      "documents."),
        (["--questions", "test.yaml"], "test.yaml: no question says 'part: calibration': all 6 say 'part: test'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    index: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_questions(Path("few.yaml"), ROWS[:5], lambda n: "calibration")
    write_questions(Path("test.yaml"), ROWS[:5], lambda n: "test")
    on = [] if "--index" in arguments else ["--index", str(index)]
    capsys.readouterr()
    assert main(["calibrate", *on, *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"rag-qa calibrate: {message}"
    assert Index.open(index).documents()  # as it was


def test_too_few_sentences_to_make_questions_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = write_facts(tmp_path / "docs", ROWS[:4])
    assert main(["ingest", str(docs), "--index", str(tmp_path / "index")]) == 0
    capsys.readouterr()
    assert main(["calibrate", "--index", str(tmp_path / "index")]) == 2
    assert capsys.readouterr().err.endswith(
        "only 4 questions can be made of these documents, and 30 are needed: give more documents, or questions of your "
        "own\n"
    )
    assert not (tmp_path / "index" / "refusal.json").exists()
