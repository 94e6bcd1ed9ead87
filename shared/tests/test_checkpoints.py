"""Checkpoints: what goes in comes out, and what is damaged, foreign or half-written is named and refused."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from roadmap_shared.errors import UserError


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    weight = torch.arange(12.0).view(3, 4) + step
    return {
        "model": {
            "wte.weight": weight,
            "lm_head.weight": weight,
            "transposed": weight.T,
            "empty": torch.zeros(0),
        },
        "optimizer": {"0.exp_avg": torch.full((2,), 0.1, dtype=torch.bfloat16), "0.step": torch.tensor(step)},
    }


def save(folder: Path, step: int, keep: int | None = None) -> Path:
    return save_checkpoint(folder, step, tensors(step), {"state": {"step": step, "best": 1e-300}}, keep=keep)


def steps(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(autouse=True)
def no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


def test_round_trip(tmp_path):
    path = save(tmp_path / "checkpoints", 500)
    assert path == tmp_path / "checkpoints" / "step-00000500"
    assert steps(path) == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    for loaded in (load_checkpoint(path), newest_checkpoint(path.parent)):
        assert loaded is not None
        assert (loaded.step, loaded.path) == (500, path)
        assert loaded.documents == {"state": {"step": 500, "best": 1e-300}}
        expected = tensors(500)
        assert {stem: list(sorted(named)) for stem, named in loaded.tensors.items()} == {
            stem: sorted(named) for stem, named in expected.items()
        }
        for stem, named in expected.items():
            for name, tensor in named.items():
                assert loaded.tensors[stem][name].dtype == tensor.dtype
                assert torch.equal(loaded.tensors[stem][name], tensor)


def test_saving_does_not_touch_the_tensors(tmp_path):
    given_tensors = tensors(1)
    before = {name: tensor.clone() for name, tensor in given_tensors["model"].items()}
    tied = given_tensors["model"]["wte.weight"].data_ptr()
    save_checkpoint(tmp_path, 1, given_tensors, {}, keep=None)
    assert given_tensors["model"]["lm_head.weight"].data_ptr() == tied
    assert all(torch.equal(given_tensors["model"][name], tensor) for name, tensor in before.items())


def test_keep_removes_the_oldest(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, keep=2)
    assert steps(tmp_path) == ["step-00000002", "step-00000003"]
    save(tmp_path, 4, keep=1)
    assert steps(tmp_path) == ["step-00000004"]
    save(tmp_path, 5)
    assert steps(tmp_path) == ["step-00000004", "step-00000005"]


def test_keep_removes_what_a_rewound_run_left_ahead(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    save(tmp_path, 15, keep=2)
    assert steps(tmp_path) == ["step-00000010", "step-00000015"]


def test_keep_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="keep must be at least 1 or None, got 0"):
        save(tmp_path, 1, keep=0)


def test_the_same_step_is_replaced(tmp_path):
    save(tmp_path, 1)
    save_checkpoint(tmp_path, 1, {"model": {"a": torch.ones(1)}}, {}, keep=None)
    assert list(load_checkpoint(tmp_path / "step-00000001").tensors) == ["model"]
    assert steps(tmp_path) == ["step-00000001"]


def test_steps_are_ordered_as_numbers(tmp_path):
    save(tmp_path, 99_999_999)
    save(tmp_path, 100_000_000)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 100_000_000


def test_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path / "missing") is None
    (tmp_path / "notes").mkdir()
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("stem", ["../model", "a.b", "", "manifest"])
def test_a_stem_is_a_plain_name(tmp_path, stem):
    with pytest.raises(ValueError, match="not a file stem"):
        save_checkpoint(tmp_path, 1, {}, {stem: 1}, keep=None)
    assert steps(tmp_path) == []


def truncate(path: Path) -> str:
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[:-1])
    there, whole = len(content) - 1, len(content)
    return f"{path}/model.safetensors: is damaged: it has {there} bytes and should have {whole}"


def flip_a_bit(path: Path) -> str:
    content = bytearray((path / "optimizer.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "optimizer.safetensors").write_bytes(content)
    return f"{path}/optimizer.safetensors: is damaged: its checksum is not the manifest's"


def change_a_document(path: Path) -> str:
    text = (path / "state.json").read_text()
    (path / "state.json").write_text(text.replace("20", "21"))
    return f"{path}/state.json: is damaged: its checksum is not the manifest's"


def lose_a_file(path: Path) -> str:
    (path / "state.json").unlink()
    return f"{path}/state.json: is missing"


def lose_the_manifest(path: Path) -> str:
    (path / "manifest.json").unlink()
    return f"{path}: is not a checkpoint: manifest.json cannot be read (No such file or directory)"


def tear_the_manifest(path: Path) -> str:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text[:-5])
    return f"{path}/manifest.json: is damaged, or of another program"


def misnumber_the_manifest(path: Path) -> str:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"step": 20', '"step": 22'))
    return f"{path}/manifest.json: is damaged: it says step 22"


DAMAGES = [
    *(truncate, flip_a_bit, change_a_document, lose_a_file),
    *(lose_the_manifest, tear_the_manifest, misnumber_the_manifest),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_skipped(tmp_path, capsys, damage):
    save(tmp_path, 10)
    complaint = damage(save(tmp_path, 20))
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path / "step-00000020")
    assert str(caught.value) == complaint
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 10
    assert capsys.readouterr().err == f"checkpoint skipped: {complaint}\n"


def test_only_rank_zero_names_a_damaged_checkpoint(tmp_path, capsys, monkeypatch):
    truncate(save(tmp_path, 20))
    monkeypatch.setenv("RANK", "1")
    assert newest_checkpoint(tmp_path) is None
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("whole"), 20)


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_no_flipped_byte_goes_unnoticed(whole, data):
    name = data.draw(st.sampled_from(steps(whole)))
    content = (whole / name).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= data.draw(st.integers(1, 255))
    (whole / name).write_bytes(flipped)
    try:
        if name == "manifest.json" and json_or_none(bytes(flipped)) == json.loads(content):
            return  # another spelling of the same, such as a tab for a space
        with pytest.raises(UserError):
            load_checkpoint(whole)
    finally:
        (whole / name).write_bytes(content)


def json_or_none(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def manifest(**changes: Any) -> str:
    return json.dumps({"format": "roadmap-checkpoint-1", "step": 1, "files": {}} | changes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "is damaged, or of another program"),
        (manifest(format="pt"), "is damaged, or of another program"),
        (manifest(files={"a.json": {}}), "is damaged, or of another program"),
        (manifest(files=[1]), "is damaged, or of another program"),
        (manifest(files={"../a.json": {"size": 1, "sha256": ""}}), "is damaged: it lists a file '../a.json'"),
        (manifest(files={"a.pt": {"size": 1, "sha256": ""}}), "is damaged: it lists a file 'a.pt'"),
    ],
)
def test_a_foreign_manifest(tmp_path, text, complaint):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value) == f"{tmp_path}/manifest.json: {complaint}"


def test_a_foreign_folder_or_file(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match=r"is not a checkpoint: manifest\.json cannot be read \(No such file"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"is not a checkpoint: manifest\.json cannot be read \(Not a directory"):
        load_checkpoint(tmp_path / "pytorch_model.bin")


def test_a_listed_file_of_another_kind(tmp_path):
    import hashlib

    content = b"\x80\x02pickle"
    (tmp_path / "model.safetensors").write_bytes(content)
    about = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "manifest.json").write_text(manifest(files={"model.safetensors": about}))
    with pytest.raises(UserError, match=r"model\.safetensors: is not a safetensors file \("):
        load_checkpoint(tmp_path)


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path):
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError) as caught:
            save_checkpoint(tmp_path, 2, {"model": {"a": torch.zeros(10_000)}}, {}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/step-00000002: the checkpoint cannot be written (")
    assert "File too large" in message
    assert message.endswith("elsewhere with --run.root FOLDER; earlier checkpoints are kept.")
    assert "\n" not in message
    assert steps(tmp_path) == ["step-00000001"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest.step == 1


@pytest.mark.parametrize(
    ("step", "failing", "call"),
    [
        (2, "fsync", 1),
        (2, "fsync", 5),  # of the folder, after its four files
        (2, "replace", 1),
        (1, "fsync", 1),
        (1, "replace", 1),  # of the old folder, out of the way
        (1, "replace", 2),
    ],
)
def test_an_error_at_any_moment_keeps_the_older_checkpoint(tmp_path, monkeypatch, step, failing, call):
    save(tmp_path, 1)
    real, calls = getattr(os, failing), []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)\. Free some space"):
        save(tmp_path, step, keep=1)
    assert steps(tmp_path) == ["step-00000001"]
    assert load_checkpoint(tmp_path / "step-00000001").step == 1


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from roadmap_shared.checkpoints import save_checkpoint
folder, moment = Path(sys.argv[1]), sys.argv[2]
save_checkpoint(folder, 1, {"model": {"a": torch.ones(3)}}, {}, keep=None)
setattr(os, moment, lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
save_checkpoint(folder, 2, {"model": {"a": torch.zeros(3)}}, {}, keep=1)
"""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_kill_9_while_saving(tmp_path, capsys, moment):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert steps(tmp_path) == [".unfinished-step-00000002", "step-00000001"]
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert (newest.step, newest.tensors["model"]["a"].tolist()) == (1, [1, 1, 1])
    assert capsys.readouterr().err == ""
    save(tmp_path, 2)
    assert steps(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_checkpoint_can_be_copied_and_renamed(tmp_path):
    copy = tmp_path / "best"
    shutil.copytree(save(tmp_path, 7), copy)
    assert load_checkpoint(copy).step == 7
