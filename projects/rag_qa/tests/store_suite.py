"""What every vector store must do: subclass `VectorStoreSuite` and give it a `store` fixture, as in
`test_vector_store.py`.

Expected results are computed here by NumPy over plain dictionaries, in the most direct way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_qa.protocols import Condition, FloatArray, IdArray, Metadata, VectorStore, Where

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


class VectorStoreSuite:
    """Behaviours of `rag_qa.protocols.VectorStore`. The fixture `store` gives an empty one for `DIMENSION`."""

    def reopened(self, store: VectorStore) -> VectorStore:
        """Another store over the same files or server, as a process started later would see it."""
        raise NotImplementedError

    keeps_unsaved = False
    """Whether a change lasts without `save`: a server's does."""

    # ---------------------------------------------------------------- adding

    def test_an_empty_store_finds_nothing(self, store: VectorStore) -> None:
        assert store.search(unit_vectors(2), 5) == [[], []]
        assert store.ids().shape == (0,)
        assert store.ids().dtype == np.int64

    def test_a_vector_is_found_by_itself_with_cosine_one(self, store: VectorStore) -> None:
        vectors = unit_vectors(5)
        store.add(id_array(3, 1, 4, 15, 9), vectors, [about()] * 5)
        for row, id in enumerate((3, 1, 4, 15, 9)):
            (found,) = store.search(vectors[row : row + 1], 1)
            assert found == [(id, pytest.approx(1.0, abs=TOLERANCE))]

    def test_results_are_best_first(self, store: VectorStore) -> None:
        vectors = np.eye(DIMENSION, dtype=np.float32)[:3]
        query = np.zeros((1, DIMENSION), dtype=np.float32)
        query[0, :3] = (0.36, 0.48, 0.8)
        store.add(id_array(10, 20, 30), vectors, [about()] * 3)
        assert [id for id, _ in store.search(query, 3)[0]] == [30, 20, 10]

    def test_results_are_plain_numbers(self, store: VectorStore) -> None:
        store.add(id_array(7), unit_vectors(1), [about()])
        ((id, score),) = store.search(unit_vectors(1), 1)[0]
        assert type(id) is int
        assert type(score) is float

    def test_ids_are_ascending_in_whatever_order_they_came(self, store: VectorStore) -> None:
        store.add(id_array(50, 7), unit_vectors(2), [about()] * 2)
        store.add(id_array(9), unit_vectors(1, seed=1), [about()])
        assert store.ids().tolist() == [7, 9, 50]

    def test_large_ids_are_kept(self, store: VectorStore) -> None:
        store.add(id_array(2**53, 2**53 + 1), unit_vectors(2), [about()] * 2)
        assert store.ids().tolist() == [2**53, 2**53 + 1]
        assert store.search(unit_vectors(2)[1:], 1)[0][0][0] == 2**53 + 1

    def test_an_empty_batch_changes_nothing(self, store: VectorStore) -> None:
        store.add(id_array(), np.empty((0, DIMENSION), dtype=np.float32), [])
        assert store.ids().tolist() == []

    def test_an_id_that_is_there_is_refused_and_nothing_of_the_batch_stays(self, store: VectorStore) -> None:
        store.add(id_array(5), unit_vectors(1), [about("first")])
        with pytest.raises(ValueError, match=r"^id 5 is in the store already$"):
            store.add(id_array(4, 5), unit_vectors(2, seed=1), [about("second")] * 2)
        assert store.ids().tolist() == [5]
        assert store.search(unit_vectors(1), 2, (Condition(field="source", any_of=("second",)),)) == [[]]

    def test_an_id_twice_in_a_batch_is_refused(self, store: VectorStore) -> None:
        with pytest.raises(ValueError, match=r"^an id comes twice$"):
            store.add(id_array(4, 4), unit_vectors(2), [about()] * 2)
        assert store.ids().tolist() == []

    def test_shapes_that_do_not_fit_are_refused(self, store: VectorStore) -> None:
        with pytest.raises(ValueError, match=r"^vectors have shape \(2, 5\), expected \(N, 16\)$"):
            store.add(id_array(1, 2), unit_vectors(2, dimension=5), [about()] * 2)
        with pytest.raises(ValueError, match=r"^\(1,\) ids and 2 metadata records for 2 vectors$"):
            store.add(id_array(1), unit_vectors(2), [about()] * 2)
        with pytest.raises(ValueError, match=r"^\(2,\) ids and 1 metadata records for 2 vectors$"):
            store.add(id_array(1, 2), unit_vectors(2), [about()])
        with pytest.raises(ValueError, match=r"^queries have shape \(1, 5\), expected \(Q, 16\)$"):
            store.search(unit_vectors(1, dimension=5), 1)

    def test_numbers_that_are_none_and_negative_ids_are_refused(self, store: VectorStore) -> None:
        broken = unit_vectors(1)
        broken[0, 3] = np.nan
        with pytest.raises(ValueError, match=r"^a vector holds a number that is not finite$"):
            store.add(id_array(1), broken, [about()])
        with pytest.raises(ValueError, match=r"^a query holds a number that is not finite$"):
            store.search(broken, 1)
        with pytest.raises(ValueError, match=r"^id -1 is negative$"):
            store.add(id_array(-1), unit_vectors(1), [about()])
        with pytest.raises(ValueError, match=r"^k is 0, expected at least 1$"):
            store.search(unit_vectors(1), 0)

    def test_metadata_of_another_kind_is_refused(self, store: VectorStore) -> None:
        wrong: Metadata = {"groups": ["staff"]}  # pyright: ignore[reportAssignmentType]
        with pytest.raises(ValueError, match=r"^metadata 'groups' is \['staff'\]: give a string, a whole number or"):
            store.add(id_array(1), unit_vectors(1), [wrong])

    # -------------------------------------------------------------- removing

    def test_what_is_removed_is_not_found(self, store: VectorStore) -> None:
        vectors = unit_vectors(4)
        store.add(id_array(1, 2, 3, 4), vectors, [about()] * 4)
        assert store.remove(id_array(2, 4)) == 2
        assert store.ids().tolist() == [1, 3]
        assert {id for id, _ in store.search(vectors[1:2], 9)[0]} == {1, 3}

    def test_unknown_and_repeated_ids_are_not_counted_as_removed(self, store: VectorStore) -> None:
        store.add(id_array(1, 2), unit_vectors(2), [about()] * 2)
        assert store.remove(id_array(2, 2, 77)) == 1
        assert store.remove(id_array(2)) == 0
        assert store.remove(id_array()) == 0

    def test_others_keep_their_vectors_and_metadata_when_one_is_removed(self, store: VectorStore) -> None:
        vectors = unit_vectors(6)
        store.add(id_array(*range(6)), vectors, [about(f"{row}.txt") for row in range(6)])
        store.remove(id_array(0, 3))
        for row in (1, 2, 4, 5):
            where = (Condition(field="source", any_of=(f"{row}.txt",)),)
            assert store.search(vectors[row : row + 1], 3, where) == [[(row, pytest.approx(1, abs=TOLERANCE))]]

    def test_a_removed_id_can_come_back_with_another_vector(self, store: VectorStore) -> None:
        vectors = unit_vectors(2)
        store.add(id_array(8), vectors[:1], [about("old")])
        store.remove(id_array(8))
        store.add(id_array(8), vectors[1:], [about("new")])
        assert store.search(vectors[1:], 1, (Condition(field="source", any_of=("new",)),))[0][0][0] == 8
        assert store.search(vectors, 1, (Condition(field="source", any_of=("old",)),)) == [[], []]

    # ------------------------------------------------------------- filtering

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

    @pytest.mark.parametrize("value", ["", "a'b", 'quo"te', "100%_", "; DROP TABLE x; --", "naïve 中文 🦉", "a\\b"])
    def test_any_string_is_a_value(self, store: VectorStore, value: str) -> None:
        store.add(id_array(0, 1), unit_vectors(2), [about(value, (value,)), about("other")])
        for name in ("source", "groups"):
            assert [i for i, _ in store.search(unit_vectors(1), 9, (Condition(field=name, any_of=(value,)),))[0]] == [0]

    def test_a_field_that_no_record_has_lets_nothing_through(self, store: VectorStore) -> None:
        store.add(id_array(0), unit_vectors(1), [about()])
        assert store.search(unit_vectors(1), 9, (Condition(field="colour", any_of=("red",)),)) == [[]]

    # -------------------------------------------------------------- searching

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

    # ---------------------------------------------------------------- lasting

    def test_what_is_saved_is_there_later(self, store: VectorStore) -> None:
        vectors = unit_vectors(4)
        store.add(id_array(1, 2, 3, 4), vectors, [about(f"{row}", ("staff", "board")) for row in range(4)])
        store.remove(id_array(3))
        store.save()
        later = self.reopened(store)
        assert later.ids().tolist() == [1, 2, 4]
        where = (Condition(field="groups", any_of=("board",)), Condition(field="source", any_of=("3",)))
        assert later.search(vectors[3:], 2, where) == [[(4, pytest.approx(1, abs=TOLERANCE))]]
        later.close()

    def test_what_is_not_saved_is_lost_as_a_whole(self, store: VectorStore) -> None:
        store.add(id_array(1, 2), unit_vectors(2), [about()] * 2)
        store.save()
        store.add(id_array(3), unit_vectors(1, seed=3), [about()])
        store.remove(id_array(1))
        later = self.reopened(store)
        assert later.ids().tolist() == ([2, 3] if self.keeps_unsaved else [1, 2])
        later.close()

    def test_saving_twice_keeps_the_last_state(self, store: VectorStore) -> None:
        store.add(id_array(1), unit_vectors(1), [about()])
        store.save()
        store.add(id_array(2), unit_vectors(1, seed=2), [about()])
        store.save()
        store.save()
        later = self.reopened(store)
        assert later.ids().tolist() == [1, 2]
        later.close()

    def test_an_empty_store_can_be_saved(self, store: VectorStore) -> None:
        store.add(id_array(1), unit_vectors(1), [about()])
        store.save()
        store.remove(id_array(1))
        store.save()
        later = self.reopened(store)
        assert later.ids().tolist() == []
        later.close()
