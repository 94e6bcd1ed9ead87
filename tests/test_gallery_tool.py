"""`tools/gallery.py` as a command."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[1] / "tools" / "gallery.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True, check=False)


def test_writes_the_page_and_prints_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    result = run(str(folder))
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{folder / 'index.html'}\n", "")
    assert "make project-6" in (folder / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["index.html"]  # no temporary file stays


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    result = run(str(tmp_path / "runs"))
    assert result.returncode == 2
    assert result.stderr == f"{tmp_path / 'runs' / 'index.html'}: cannot be written: File exists\n"


def test_unknown_option_shows_the_usage() -> None:
    result = run("--help-me")
    assert (result.returncode, result.stderr) == (2, "usage: python tools/gallery.py [FOLDER]\n")
