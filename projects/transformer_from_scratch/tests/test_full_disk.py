"""A full and a read-only disk, for real: small file systems in memory, which only root may mount."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transformer_from_scratch.cli import main

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a file system in memory with the given options; skips the test where that is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root may mount a small file system")
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def tiny(text: Path, root: Path, steps: int) -> list[str]:
    settings = (
        "--model.n_layers 1 --model.n_heads 2 --model.d_model 32 --model.d_hidden 64 --model.context 16 "
        "--model.ngram_orders 2 --trainer.batch_size 4 --trainer.checkpoint_every 1 --trainer.evaluate_every 100 "
        "--trainer.keep_checkpoints 2 --trainer.threads 1 --trainer.device cpu"
    )
    flags = ["--data.path", str(text), "--run.root", str(root), "--trainer.steps", str(steps)]
    return ["run", *settings.split(), *flags]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("abcdefghijklmnopqrstuvwxyz\n" * 100)
    return path


def test_full_disk_keeps_the_earlier_checkpoint(text: Path, mount: Mount, capsys: pytest.CaptureFixture[str]) -> None:
    # A checkpoint of this model takes about 0.3 MB: the disk has room for one or two.
    disk = mount("size=800k")
    assert main(tiny(text, disk, steps=5)) == 2
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert "the checkpoint cannot be written (" in last_line
    assert "No space left on device" in last_line
    assert "Free some space, or write elsewhere with --run.root FOLDER" in last_line
    run = (disk / "transformer_from_scratch" / "latest").resolve()
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept, "what was saved before stays"
    assert all(name.startswith("step-") for name in kept), "nothing half-written is left"
    capsys.readouterr()
    assert main(["generate", "--checkpoint", str(run), "--prompt", "abc", "--length", "2"]) == 0


def test_read_only_disk_is_said_at_once(text: Path, mount: Mount, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny(text, mount("size=1m,ro"), steps=5)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Read-only file system" in line
    assert "--run.root" in line
