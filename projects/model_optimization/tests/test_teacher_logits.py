from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from model_optimization.distillation.teacher_logits import TeacherLogits, teacher_digest
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier


def counting(teacher: TorchClassifier, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the teacher reads from here on."""
    read: list[str] = []
    whole = teacher.logits

    def logits(texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        read.extend(texts)
        return whole(texts, batch_size)

    monkeypatch.setattr(teacher, "logits", logits)
    return read


def test_each_text_is_read_once(monkeypatch: pytest.MonkeyPatch):
    teacher = tiny_classifier()
    expected = teacher.logits([*TEXTS, TEXTS[0]])
    read, answers = counting(teacher, monkeypatch), TeacherLogits(teacher)
    np.testing.assert_allclose(answers.of([*TEXTS, TEXTS[0]]), expected, rtol=1e-5, atol=1e-6)
    assert read == list(TEXTS)
    answers.of([TEXTS[3], "a good plot"])
    assert read == [*TEXTS, "a good plot"]


def test_a_later_training_finds_them_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    teacher = tiny_classifier()
    first = TeacherLogits(teacher, tmp_path / "kept").of(TEXTS)
    read = counting(teacher, monkeypatch)
    assert np.array_equal(TeacherLogits(teacher, tmp_path / "kept").of(TEXTS[::-1]), first[::-1])
    assert not read


def test_another_teacher_has_a_file_of_its_own(tmp_path: Path):
    teacher = tiny_classifier()
    digest = teacher_digest(teacher)
    TeacherLogits(teacher, tmp_path).of(TEXTS)
    with torch.no_grad():
        teacher.network.classifier.bias[0] += 1
    assert teacher_digest(teacher) != digest
    other = TeacherLogits(teacher, tmp_path).of(TEXTS)
    np.testing.assert_allclose(other, teacher.logits(TEXTS), rtol=1e-5, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 2
    shorter = tiny_classifier()
    shorter.max_length = 8
    assert teacher_digest(shorter) != digest


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]):
    teacher = tiny_classifier()
    expected = TeacherLogits(teacher, tmp_path).of(TEXTS)
    (path,) = tmp_path.iterdir()
    if damage == "other":
        np.savez(path, keys=np.zeros((2, 32), dtype=np.uint8), logits=np.zeros((2, 7), dtype=np.float32))
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "cut" else b"no archive")
    assert np.array_equal(TeacherLogits(teacher, tmp_path).of(TEXTS), expected)
    assert f"{path}: is damaged (" in capsys.readouterr().out
    assert np.array_equal(TeacherLogits(teacher, tmp_path).of(TEXTS), expected)
    assert "is damaged" not in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError) as caught:
        TeacherLogits(tiny_classifier(), tmp_path / "file" / "kept").of(TEXTS)
    assert str(caught.value) == f"--distillation.logits_folder {tmp_path / 'file' / 'kept'}: Not a directory"
