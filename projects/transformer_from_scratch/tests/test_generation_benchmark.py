"""The benchmark of generation runs, and makes the same tokens as Hugging Face. What it measures is not tested."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "generation.py"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_quick_benchmark_prints_a_row_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SCRIPT))["main"](["--quick", "--threads", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith("1 thread(s), 2 rounds, identical tokens")
    rows = {line[:29].strip(): line[29:].split() for line in lines[4:]}
    assert list(rows) == ["Hugging Face", "ours", "Hugging Face, prompt lookup", "ours, prompt lookup"]
    assert rows["Hugging Face"][2:] == ["1.00", "(1.00-1.00)", "20"]
    assert rows["ours"][-1] == "20"
    assert int(rows["ours, prompt lookup"][-1]) < 20
