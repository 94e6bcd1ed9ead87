"""Are zeros faster? One feed-forward product with ever more zeros against the same product without, in the same run.

    python benchmarks/pruned_products.py [--rounds N]

The matrix is of the encoder's feed-forward layer, (1536, 384), and meets 128 tokens. It takes turns as it is, with
zeros in a dense matrix, as a sparse matrix (CSR), and with as many rows really cut out. Printed is the median ratio of
the CPU time of the whole matrix to each: above 1 is faster. Beside it, the bytes of each form in units of the whole
matrix's.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from model_optimization.pruning.magnitude_pruning import per_layer_masks
from model_optimization.pruning.sparse_storage import storage

OUT, IN, TOKENS = 1536, 384, 128
SHARES = (0.5, 0.75, 0.9, 0.99)


def products(matrix: Tensor, inputs: Tensor, share: float) -> dict[str, Callable[[], Tensor]]:
    """The product (OUT, IN) by (IN, TOKENS) in four forms, all but the first without `share` of the numbers."""
    zeroed = matrix * per_layer_masks({"matrix": matrix}, share)["matrix"]
    cut = matrix[: round((1 - share) * len(matrix))].clone()
    sparse = zeroed.to_sparse_csr()
    return {
        "whole": lambda: matrix @ inputs,
        "zeros": lambda: zeroed @ inputs,
        "CSR": lambda: sparse @ inputs,
        "cut": lambda: cut @ inputs,
    }


def cpu_seconds(forms: dict[str, Callable[[], Tensor]], rounds: int, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of `repeats` products of each form, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 1):
        for name, product in forms.items():
            started = time.process_time()
            for _ in range(repeats):
                product()
            seconds[name].append(time.process_time() - started)
    return {name: times[1:] for name, times in seconds.items()}  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="times that all take turns")
    parser.add_argument("--repeats", type=int, default=20, help="products a turn")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    matrix, inputs = torch.randn(OUT, IN), torch.randn(IN, TOKENS)
    for share in SHARES:
        forms = products(matrix, inputs, share)
        torch.testing.assert_close(forms["zeros"](), forms["CSR"]())
        seconds = cpu_seconds(forms, arguments.rounds, arguments.repeats)
        speed = {
            name: statistics.median(map(lambda whole, one: whole / one, seconds["whole"], times))
            for name, times in seconds.items()
        }
        sizes = storage([matrix * per_layer_masks({"matrix": matrix}, share)["matrix"]])
        bytes_of = {"zeros": sizes.dense, "CSR": sizes.csr, "cut": round((1 - share) * sizes.dense)}
        shown = "  ".join(f"{name} {speed[name]:5.2f} x at {size / sizes.dense:.2f}" for name, size in bytes_of.items())
        print(f"{share:3.0%} out: {shown}  (gzip {sizes.compressed / sizes.dense:.2f})")


if __name__ == "__main__":
    main()
