"""Labelling a file gives the same bytes after an interruption, a kill, or a full disk."""

import csv
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bert_sentiment.inference import files
from bert_sentiment.inference.files import FileResult
from bert_sentiment.inference.predictor import Prediction, Predictor
from bert_sentiment.models.bert_classifier import SentimentModel

from .helpers import label_file, labelling_error, said

pytestmark = pytest.mark.usefixtures("small_chunks")

TinyModel = Callable[..., SentimentModel]


@dataclass(frozen=True)
class Interrupted(Predictor):
    """Stops as Ctrl-C does when it meets a text for the given time."""

    calls: tuple[int, ...] = ()
    counter: list[int] = None  # type: ignore[assignment]

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        self.counter.append(len(texts))
        if len(self.counter) in self.calls:
            raise KeyboardInterrupt
        return super().predict(texts, batch_size)


def write_reviews(path: Path, n_rows: int = 42) -> Path:
    """Records of any length, some of them broken."""
    draw = random.Random(3)
    words = "the film was not good , awful plot and bright i loved it !".split()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for number in range(n_rows):
            text = " ".join(draw.choices(words, k=draw.randint(1, 30))) if number % 7 else ""
            writer.writerow([number, text] if number % 10 else [number])
    return path


@pytest.fixture
def whole(predictor: Predictor, tmp_path: Path) -> tuple[bytes, bytes]:
    """Result and rejects of an undisturbed run over `write_reviews`."""
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    result = label_file(predictor, write_reviews(folder / "a.csv"))
    assert result.rejects is not None
    return result.output.read_bytes(), result.rejects.read_bytes()


def is_whole(result: FileResult, whole: tuple[bytes, bytes]) -> bool:
    assert result.rejects is not None
    return (result.output.read_bytes(), result.rejects.read_bytes()) == whole


@pytest.mark.parametrize("call", [1, 2, 7])
def test_ctrl_c_and_again_gives_the_same_bytes(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes], call: int
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    output = tmp_path / "a.predictions.csv"
    interrupted = Interrupted(predictor.model, calls=(call,), counter=[])
    with pytest.raises(KeyboardInterrupt):
        label_file(interrupted, source)
    done = 4 * (call - 1)
    assert said.pop() == f"{output}: stopped behind record {done} of 42; the same command continues there"
    assert not output.exists()
    assert output.with_name("a.predictions.csv.part").exists()
    counting = Interrupted(predictor.model, counter=[])
    result = label_file(counting, source)
    assert is_whole(result, whole)
    assert (result.n_labelled, result.n_rejected) == (32, 10)
    assert len(counting.counter) == 11 - (call - 1), "what was done is not done again"
    assert ([f"{output}: continuing an interrupted run behind record {done}"] if done else []) == said
    assert sorted(path.name for path in tmp_path.glob("a.*")) == ["a.csv", "a.predictions.csv", "a.rejects.jsonl"]


def test_whatever_call_to_the_disk_is_the_last(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Nothing catches it, as nothing catches a kill."""

    def dies_at(calls: int) -> Iterator[None]:
        for name in ("fsync", "replace", "unlink"):
            real = getattr(os, name)

            def dying(*arguments: object, real: Callable[..., object] = real, **options: object) -> object:
                nonlocal calls
                calls -= 1
                if calls < 0:
                    raise KilledError
                return real(*arguments, **options)

            monkeypatch.setattr(os, name, dying)
        yield
        monkeypatch.undo()
        monkeypatch.setattr(files, "CHUNK_ROWS", 4)

    for calls in (0, 2, 4, 8, 31, 58, 60, 61, 62, 63):
        folder = tmp_path / str(calls)
        folder.mkdir()
        source = write_reviews(folder / "a.csv")
        dying = dies_at(calls)
        next(dying)
        try:
            label_file(predictor, source)
        except KilledError:
            pass
        finally:
            next(dying, None)
        assert is_whole(label_file(predictor, source), whole)


KILLED = """
import os, signal, sys
from pathlib import Path
from bert_sentiment.inference import files
from bert_sentiment.inference.predictor import Predictor

class Killed(Predictor):
    def predict(self, texts, batch_size=32):
        counter.append(texts)
        if len(counter) == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(texts, batch_size)

counter = []
files.CHUNK_ROWS = 4
files.predict_file(Killed.find(sys.argv[1], Path("runs"), "cpu"), Path(sys.argv[2]))
"""


def test_kill_9_and_again_gives_the_same_bytes(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes]
) -> None:
    predictor.model.save(tmp_path / "model")
    source = write_reviews(tmp_path / "a.csv")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "model"), str(source)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.predictions.csv").exists()
    # What the killed process wrote behind its last save is cut off.
    with (tmp_path / "a.predictions.csv.part").open("ab") as part:
        part.write(b"20,half a rec")
    again = Predictor.find(str(tmp_path / "model"), tmp_path, "cpu")
    assert is_whole(label_file(again, source), whole)
    assert said[-1] == f"{tmp_path / 'a.predictions.csv'}: continuing an interrupted run behind record 20"


def interrupted(predictor: Predictor, source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        label_file(Interrupted(predictor.model, predictor.unsure_below, calls=(3,), counter=[]), source)
    said.clear()


def test_restart_begins_anew_without_a_word(predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes]) -> None:
    source = write_reviews(tmp_path / "a.csv")
    interrupted(predictor, source)
    counting = Interrupted(predictor.model, counter=[])
    assert is_whole(label_file(counting, source, restart=True), whole)
    assert (len(counting.counter), said) == (11, [])


def test_another_batch_size_continues(predictor: Predictor, tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "a.csv")
    interrupted(predictor, source)
    label_file(predictor, source, batch_size=3)
    assert said == [f"{tmp_path / 'a.predictions.csv'}: continuing an interrupted run behind record 8"]


def test_what_changed_is_said_and_the_work_begins_anew(
    predictor: Predictor, tiny_model: TinyModel, tmp_path: Path
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    start = f"{tmp_path / 'a.predictions.csv'}: "

    interrupted(predictor, source)
    fresh = label_file(replace(predictor, unsure_below=0.99), source)
    assert [f"{start}--unsure_below changed since the interrupted run: starting from the beginning"] == said
    assert fresh.counts == {"unsure": 32}

    interrupted(predictor, source)
    hotter = Predictor(replace(tiny_model(), temperature=2.0), unsure_below=0.99)
    label_file(hotter, source)
    assert said == [
        f"{start}--unsure_below and the model changed since the interrupted run: starting from the beginning"
    ]

    interrupted(predictor, source)
    write_reviews(source, 44)
    assert label_file(predictor, source).n_labelled == 33
    assert said == [f"{start}the input changed since the interrupted run: starting from the beginning"]

    interrupted(predictor, source)
    label_file(predictor, source, text_column="id")
    assert said == [f"{start}the text column changed since the interrupted run: starting from the beginning"]


def test_a_damaged_state_begins_anew(predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes]) -> None:
    source = write_reviews(tmp_path / "a.csv")
    output = tmp_path / "a.predictions.csv"
    interrupted(predictor, source)
    output.with_name("a.predictions.csv.state.json").write_text("{")
    assert is_whole(label_file(predictor, source), whole)
    interrupted(predictor, source)
    output.with_name("a.predictions.csv.part").write_text("short")
    assert is_whole(label_file(predictor, source), whole)
    assert said == [f"{output}: the interrupted run's files are shorter than they were: starting from the beginning"]


def test_two_processes_do_not_mix(predictor: Predictor, tmp_path: Path) -> None:
    source = write_reviews(tmp_path / "a.csv")
    seen: list[str] = []

    @dataclass(frozen=True)
    class Nested(Predictor):
        def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
            if not seen:
                seen.append(labelling_error(predictor, source))
            return super().predict(texts, batch_size)

    assert label_file(Nested(predictor.model), source).n_labelled == 32
    output = tmp_path / "a.predictions.csv"
    assert seen == [f"{output}: another process is writing it: wait for it, or choose another --output"]


def test_a_full_disk_is_one_line_and_the_work_goes_on_later(
    predictor: Predictor, tmp_path: Path, whole: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    real, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    output = tmp_path / "a.predictions.csv"
    assert labelling_error(predictor, source) == (
        f"{output}: cannot be written (No space left on device). "
        "Free some space and repeat the command: it continues where it stopped"
    )
    monkeypatch.setattr(os, "fsync", real)
    assert is_whole(label_file(predictor, source), whole)
    assert said == [f"{output}: continuing an interrupted run behind record 16"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB in memory; skipped where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(predictor: Predictor, tmp_path: Path, small_disk: Path) -> None:
    source = write_reviews(tmp_path / "a.csv", 240)
    output = small_disk / "a.csv"
    assert labelling_error(predictor, source, output) == (
        f"{output}: cannot be written (No space left on device). "
        "Free some space and repeat the command: it continues where it stopped"
    )
    assert not output.exists()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    result = label_file(predictor, source, output)
    assert output.read_bytes() == label_file(predictor, source).output.read_bytes()
    assert result.n_labelled + result.n_rejected == 240
    assert "continuing an interrupted run behind record" in said[0]


def test_a_folder_that_cannot_be_written(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_reviews(tmp_path / "a.csv")
    real = Path.open

    def refused(self: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if "a" in mode:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    assert labelling_error(predictor, source) == (
        f"{tmp_path / 'a.predictions.csv'}: cannot be written (Permission denied). Write elsewhere with --output FILE"
    )


def test_progress_counts_from_where_it_continues(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_reviews(tmp_path / "a.csv")
    interrupted(predictor, source)
    capsys.readouterr()
    label_file(predictor, source)
    assert capsys.readouterr().err.startswith("labelling: 42/42 text (100%)")
