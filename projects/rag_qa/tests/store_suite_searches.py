"""What every vector store must do: filters and searches. A part of `store_suite.VectorStoreSuite`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.protocols import Condition, VectorStore, Where

from .store_model import (
    DIMENSION,
    SHARED,
    Model,
    about,
    filters,
    id_array,
    operations,
    unit_vectors,
)


class Filtering:
    """The fixture `store` gives an empty store for `DIMENSION`."""

    def test_filters_come_before_the_search(self, store: VectorStore) -> None:
        """The records that are let through are the farthest of all from the query: a filter after it finds none."""
        vectors = unit_vectors(300)
        query = unit_vectors(1, seed=9)
        farthest = set(np.argsort(vectors @ query[0])[:5].tolist())
        metadata = [about(groups=("board",) if row in farthest else ("public",)) for row in range(300)]
        store.add(np.arange(300), vectors, metadata)
        found = store.search(query, 5, (Condition(field="groups", any_of=("board",)),))[0]
        assert {id for id, _ in found} == farthest

    def test_one_of_several_values_is_enough(self, store: VectorStore) -> None:
        groups = [("staff", "board"), ("staff",), ("public",), ()]
        store.add(id_array(0, 1, 2, 3), unit_vectors(4), [about(groups=names) for names in groups])

        def found(*names: str) -> set[int]:
            return {id for id, _ in store.search(unit_vectors(1), 9, (Condition(field="groups", any_of=names),))[0]}

        assert found("staff") == {0, 1}
        assert found("board", "public") == {0, 2}
        assert found("nobody") == set()
        assert found() == set()

    def test_all_conditions_must_hold(self, store: VectorStore) -> None:
        metadata = [about("a", ("x",)), about("b", ("x",)), about("a", ("y",))]
        store.add(id_array(0, 1, 2), unit_vectors(3), metadata)
        where = (Condition(field="source", any_of=("a",)), Condition(field="groups", any_of=("x",)))
        assert [id for id, _ in store.search(unit_vectors(1), 9, where)[0]] == [0]

    def test_whole_numbers_and_strings_differ(self, store: VectorStore) -> None:
        store.add(id_array(0, 1), unit_vectors(2), [{"page": 7}, {"page": "7"}])
        assert [id for id, _ in store.search(unit_vectors(1), 9, (Condition(field="page", any_of=(7,)),))[0]] == [0]
        assert [id for id, _ in store.search(unit_vectors(1), 9, (Condition(field="page", any_of=("7",)),))[0]] == [1]

    @pytest.mark.parametrize(
        "value",
        ["", "a'b", 'quo"te', "100%_", "; DROP TABLE x; --", "naïve 中文 🦉", "a\\b", "nul\0", "half \ud83e", "\ufdd0"],
    )
    def test_any_string_is_a_value(self, store: VectorStore, value: str) -> None:
        store.add(id_array(0, 1), unit_vectors(2), [about(value, (value,)), about("other")])
        for name in ("source", "groups"):
            assert [i for i, _ in store.search(unit_vectors(1), 9, (Condition(field=name, any_of=(value,)),))[0]] == [0]

    def test_values_that_a_server_cannot_keep_as_they_are_stay_different(self, store: VectorStore) -> None:
        values = ["\0", "\ufdd00000", "\ufdd0", "\ufdd0\ufdd0", "0000", "\ud800", "\ufdd0d800"]
        store.add(np.arange(len(values)), unit_vectors(len(values)), [about(value) for value in values])
        for row, value in enumerate(values):
            where = (Condition(field="source", any_of=(value,)),)
            assert [id for id, _ in store.search(unit_vectors(1), 9, where)[0]] == [row]

    def test_a_field_that_no_record_has_lets_nothing_through(self, store: VectorStore) -> None:
        store.add(id_array(0), unit_vectors(1), [about()])
        assert store.search(unit_vectors(1), 9, (Condition(field="colour", any_of=("red",)),)) == [[]]


class Searching:
    """The fixture `store` gives an empty store for `DIMENSION`."""

    def test_more_results_than_records_gives_all_records(self, store: VectorStore) -> None:
        store.add(id_array(0, 1, 2), unit_vectors(3), [about()] * 3)
        assert len(store.search(unit_vectors(1), 50)[0]) == 3

    def test_queries_are_answered_each_for_itself(self, store: VectorStore) -> None:
        vectors = unit_vectors(40)
        store.add(np.arange(40), vectors, [about()] * 40)
        queries = unit_vectors(30, seed=5)
        together = store.search(queries, 5)
        assert len(together) == 30
        for row, found in enumerate(together):
            alone = store.search(queries[row : row + 1], 5)[0]
            assert [id for id, _ in found] == [id for id, _ in alone]
        assert store.search(np.empty((0, DIMENSION), dtype=np.float32), 5) == []

    def test_large_batches_are_searched_exactly(self, store: VectorStore) -> None:
        vectors, model = unit_vectors(2500), Model()
        metadata = [about(f"{row % 7}.txt", ("public", "staff")[row % 2 :], row % 11) for row in range(2500)]
        store.add(np.arange(2500), vectors, metadata)
        model.add(np.arange(2500), vectors, metadata)
        for where in ((), (Condition(field="groups", any_of=("public",)),)):
            for query, found in zip(unit_vectors(3, 8), store.search(unit_vectors(3, 8), 10, where), strict=True):
                model.check(found, query, 10, where)

    @settings(max_examples=30, deadline=None, suppress_health_check=SHARED)
    @given(steps=operations(), where=filters(), k=st.integers(1, 30), seed=st.integers(0, 1000))
    def test_equals_brute_force_after_any_changes(
        self, store: VectorStore, steps: list[tuple[str, list[int]]], where: Where, k: int, seed: int
    ) -> None:
        store.remove(store.ids())
        random, model = np.random.default_rng(seed), Model()
        for kind, ids in steps:
            if kind == "remove":
                assert store.remove(id_array(*ids)) == len(model.records.keys() & set(ids))
                model.records = {id: record for id, record in model.records.items() if id not in ids}
                continue
            fresh = [id for id in ids if id not in model.records]
            vectors = unit_vectors(len(fresh), seed=int(random.integers(1 << 30)))
            groups = [tuple(random.choice(["public", "staff", "board"], size=random.integers(3))) for _ in fresh]
            metadata = [
                about(str(random.choice(["a.txt", "b/c.pdf"])), tuple(map(str, names)), int(random.integers(4)))
                for names in groups
            ]
            store.add(id_array(*fresh), vectors, metadata)
            model.add(id_array(*fresh), vectors, metadata)
        assert store.ids().tolist() == sorted(model.records)
        query = unit_vectors(1, seed=seed + 1)
        model.check(store.search(query, k, where)[0], query[0], k, where)
