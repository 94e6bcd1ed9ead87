"""The benchmark scripts run; what they measure is for the README, not for a test."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def output_of(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_throughput_compares_models_of_the_same_size() -> None:
    table = output_of("training_throughput.py", "--rounds", "1", "--steps", "1").splitlines()
    sizes = {line.split()[-3] for line in table if line.startswith(("nn.TransformerEncoder", "ours"))}
    assert sizes == {"804,096"}
    assert table[-1].startswith("ratio, median of the rounds: ")


def test_shakespeare_prints_a_row_for_each_recipe(tmp_path: Path) -> None:
    text = tmp_path / "input.txt"
    text.write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(300)))
    table = output_of("shakespeare.py", str(text), "--seeds", "2", "--steps", "2")
    rows = [line for line in table.splitlines() if "±" in line]
    assert [row[:24].strip() for row in rows] == ["shakespeare", "nanoGPT's shape, AdamW"]
    assert table.splitlines()[-1].startswith("5-gram, Kneser-Ney")
