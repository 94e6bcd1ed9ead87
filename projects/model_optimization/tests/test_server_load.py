"""The load script runs; what it measures is for the README, not for a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

from model_optimization.variants import VariantInfo, write_variant

from .tiny_models import tiny_classifier

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "server_load.py"


def test_load_script_finds_no_lost_and_no_wrong_answer(tmp_path):
    classifier = tiny_classifier()
    info = VariantInfo(name="tiny", kind="torch", labels=classifier.labels, max_length=64)
    variant = write_variant(tmp_path / "tiny", info, classifier.save)
    arguments = "--clients 4 --seconds 0.3 --turns 1 --overload-seconds 1".split()
    command = [sys.executable, str(SCRIPT), "--variant", str(variant), "--plain", str(variant), *arguments]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out.json")], capture_output=True, text=True, check=False, timeout=280,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert list(result["servers"]) == ["micro-batching", "one at a time", "plain pipeline"]
    for row in result["servers"].values():
        assert row["per_second"] > 0
        assert (row["wrong"], row["lost"], row["refused"]) == (0, 0, 0)
    overload = result["overload"]
    assert overload["accepted_by_server"] == overload["ended_by_server"] == overload["answered"]
    assert (overload["wrong"], overload["refused_without_reason"], overload["exit_code"]) == (0, 0, 0)
