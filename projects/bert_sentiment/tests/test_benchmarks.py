"""The benchmark scripts run; what they measure is for the README, not for a test."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def output_of(script: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_prediction_throughput_asks_for_the_same_labels_in_three_ways() -> None:
    _, sizes, *rows = output_of("prediction_throughput.py", "--rounds", "1", "--texts", "3")
    assert sizes == "3 texts, 1 rounds, identical labels"
    names = ["pipeline, one by one", "pipeline, batches of 32", "ours, batches of 32"]
    assert [row[:26].strip() for row in rows] == names
    assert all(re.fullmatch(r".{26} +\d+ texts a second +\d+\.\d\d × \(\d+\.\d\d to \d+\.\d\d\)", row) for row in rows)


def test_training_throughput_compares_two_ways_on_the_same_texts(tmp_path: Path) -> None:
    texts = tmp_path / "reviews.csv"
    lines = [f"film {n} was {'great' if n % 2 else 'awful'},{'good' if n % 2 else 'bad'}" for n in range(60)]
    texts.write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    sizes = ("--rounds", "1", "--texts", "2", "--accuracy", "2", "--epochs", "1")
    table = output_of("training_throughput.py", str(texts), *sizes)
    rows = [line for line in table if line.endswith("texts a second")]
    assert [row[:24].strip() for row in rows] == ["fixed padding to 128", "ours"]
    (ratio,) = [line for line in table if line.startswith("ratio")]
    assert re.fullmatch(r"ratio, median of the rounds: \d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)", ratio)
    accuracies = [line for line in table if "accuracy" in line]
    assert [row[:24].strip() for row in accuracies] == ["fixed padding to 128", "ours", "ours, random batches"]
    assert all(re.search(r"accuracy [01]\.\d{4} ±0\.\d{4} on 12 test texts", row) for row in accuracies)
    assert all("against fixed padding" in row for row in accuracies[1:])
