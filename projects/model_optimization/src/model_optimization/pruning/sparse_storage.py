"""What matrices with zeros take up, stored in different ways.

Shapes: a weight is (out, in); z of its n numbers are not 0.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from model_optimization.pruning.magnitude_pruning import two_of_four_mask

_FLOAT = 4  # bytes
_INDEX = 4


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Bytes of the same matrices."""

    dense: int
    """As they are in a file: 4 n, whatever the numbers are."""

    compressed: int
    """The dense bytes after DEFLATE (gzip): smaller on disk, the same in memory. float32 weights without zeros hardly
    shrink: their bits look random."""

    csr: int
    """Compressed sparse rows: the numbers that are not 0, the column of each, and where each row begins. The columns
    take as much as the numbers, so that it saves only above 50 % zeros."""

    bitmap: int
    """The numbers that are not 0, and one bit for each place."""

    two_of_four: int | None
    """Two of four numbers and two bits for the place of each, as sparse tensor cores read them; None where the matrices
    have another pattern."""


def storage(weights: Iterable[Tensor]) -> Storage:
    """Bytes of these matrices, (out, in) of float32, in each format."""
    matrices = [weight.detach().contiguous() for weight in weights]
    numbers = sum(matrix.numel() for matrix in matrices)
    filled = sum(int(torch.count_nonzero(matrix)) for matrix in matrices)
    return Storage(
        dense=_FLOAT * numbers,
        compressed=sum(len(zlib.compress(matrix.numpy().tobytes())) for matrix in matrices),
        csr=sum(csr_bytes(matrix) for matrix in matrices),
        bitmap=_FLOAT * filled + -(-numbers // 8),
        two_of_four=_FLOAT * numbers // 2 + numbers // 8 if all(map(is_two_of_four, matrices)) else None,
    )


def csr_bytes(matrix: Tensor) -> int:
    """Bytes of a matrix in compressed sparse rows with 32-bit indices: 8 z + 4 (out + 1)."""
    filled = int(torch.count_nonzero(matrix))
    return (_FLOAT + _INDEX) * filled + _INDEX * (len(matrix) + 1)


def is_two_of_four(matrix: Tensor) -> bool:
    """Whether no four neighbours in a row have more than two numbers that are not 0."""
    if matrix.shape[1] % 4:
        return False
    return bool(((matrix != 0) <= two_of_four_mask(matrix)).all())
