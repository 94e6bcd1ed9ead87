"""The benchmark script runs; what it measures is for the README, not for a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "pruned_products.py"


def test_zeros_sparse_and_cut_matrices_take_turns() -> None:
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--repeats", "1"]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(" out:")[0].strip() for line in lines] == ["50%", "75%", "90%", "99%"]
    # Bytes need no clock: dense zeros save nothing, CSR of half of the numbers takes more than all of them.
    assert all(re.search(r"zeros +\d+\.\d\d x at 1\.00  CSR +\d+\.\d\d x at \d\.\d\d", line) for line in lines)
    assert "at 1.00  CSR" in lines[0]
    assert "x at 0.20  cut" in lines[2]
    assert "x at 0.10  (gzip" in lines[2]
