"""Searching files for many byte strings at once.

Every pattern is known by its first eight bytes, as one number. A block of a file is read as numbers at all
eight alignments; a table of hashes tells at once for nearly all of them that they begin no pattern (as in Rabin and
Karp 1987, "Efficient randomized pattern-matching algorithms"), and the few others are compared in full.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ANCHOR = 8
_TABLE_BITS = 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4)
_BLOCK = 8 << 20


class Patterns:
    """Byte strings of at least `ANCHOR` bytes each."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self._by_anchor: dict[int, list[bytes]] = {}
        for pattern in set(patterns):
            if len(pattern) < ANCHOR:
                raise ValueError(f"a pattern has {len(pattern)} bytes, expected at least {ANCHOR}")
            self._by_anchor.setdefault(int.from_bytes(pattern[:ANCHOR], "little"), []).append(pattern)
        self.longest = max((len(one) for many in self._by_anchor.values() for one in many), default=0)
        self._anchors = np.sort(np.array(list(self._by_anchor), dtype=np.uint64))
        self._table = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
        self._table[_hash(self._anchors)] = True

    def __len__(self) -> int:
        return sum(map(len, self._by_anchor.values()))

    def find(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, pattern) of every occurrence, in no particular order."""
        if not self._by_anchor:
            return
        for shift in range(min(ANCHOR, max(0, len(data) - ANCHOR + 1))):
            numbers = np.frombuffer(data, dtype="<u8", count=(len(data) - shift) // ANCHOR, offset=shift)
            places = np.flatnonzero(self._table[_hash(numbers)])
            for place in places[np.isin(numbers[places], self._anchors)].tolist():
                offset = place * ANCHOR + shift
                for pattern in self._by_anchor[int(numbers[place])]:
                    if data.startswith(pattern, offset):
                        yield offset, pattern

    def find_in_file(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, pattern) of every occurrence in a file, read in blocks. Raises OSError: it cannot be read."""
        with path.open("rb") as file:
            start, tail = 0, b""
            while block := file.read(_BLOCK):
                data = tail + block
                keep = min(len(data), max(0, self.longest - 1))
                # What lies wholly in the tail was found in the block before.
                for offset, pattern in self.find(data):
                    if offset + len(pattern) > len(tail):
                        yield start + offset, pattern
                tail = data[len(data) - keep :]
                start += len(data) - keep


def _hash(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (numbers * _MULTIPLIER) >> np.uint64(64 - _TABLE_BITS)
