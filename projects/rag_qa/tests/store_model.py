"""Records for the suite of vector stores, and the store that it compares with: plain dictionaries and NumPy, in the
most direct way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from rag_qa.protocols import Condition, FloatArray, IdArray, Metadata, Where

DIMENSION = 16
TOLERANCE = 2e-6
# The property test empties the store itself, and each back end's subclass runs it.
SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)


def unit_vectors(count: int, seed: int = 0, dimension: int = DIMENSION) -> FloatArray:
    """(count, dimension) rows of length 1 in random directions."""
    drawn = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def id_array(*ids: int) -> IdArray:
    return np.array(ids, dtype=np.int64)


def about(source: str = "a.txt", groups: tuple[str, ...] = ("public",), page: int = 1) -> Metadata:
    return {"source": source, "groups": groups, "page": page}


@dataclass
class Model:
    """The same operations in plain Python."""

    records: dict[int, tuple[FloatArray, Metadata]] = field(default_factory=dict)

    def add(self, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
        self.records |= {int(i): (v, m) for i, v, m in zip(ids, vectors, metadata, strict=True)}

    def cosines(self, query: FloatArray, where: Where) -> dict[int, float]:
        def holds(record: Metadata, condition: Condition) -> bool:
            value = record.get(condition.field)
            values = value if isinstance(value, tuple) else (value,)
            return any(one in condition.any_of for one in values)

        return {
            id: float(vector.astype(np.float64) @ query.astype(np.float64))
            for id, (vector, record) in self.records.items()
            if all(holds(record, condition) for condition in where)
        }

    def check(self, found: list[tuple[int, float]], query: FloatArray, k: int, where: Where) -> None:
        """The scores are right, none better is missing, and they are in order."""
        cosines = self.cosines(query, where)
        assert len(found) == min(k, len(cosines))
        assert len({id for id, _ in found}) == len(found)
        for id, score in found:
            assert score == pytest.approx(cosines[id], abs=TOLERANCE)
        best = sorted(cosines.values(), reverse=True)[: len(found)]
        np.testing.assert_allclose([score for _, score in found], best, atol=TOLERANCE)


def operations() -> st.SearchStrategy[list[tuple[str, list[int]]]]:
    """Additions and removals of ids below 24, some of them unknown or there already."""
    ids = st.lists(st.integers(0, 23), min_size=1, max_size=8, unique=True)
    return st.lists(st.tuples(st.sampled_from(["add", "remove"]), ids), min_size=1, max_size=8)


def filters() -> st.SearchStrategy[Where]:
    conditions = st.one_of(
        st.builds(
            lambda values: Condition(field="groups", any_of=tuple(values)),
            st.lists(st.sampled_from(["public", "staff", "board", "nobody"]), max_size=3),
        ),
        st.builds(
            lambda values: Condition(field="page", any_of=tuple(values)), st.lists(st.integers(0, 4), max_size=3)
        ),
        st.builds(
            lambda value: Condition(field="source", any_of=(value,)), st.sampled_from(["a.txt", "b/c.pdf", "没有"])
        ),
        st.just(Condition(field="missing", any_of=("x",))),
    )
    return st.lists(conditions, max_size=2).map(tuple)
