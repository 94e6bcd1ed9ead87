"""What every vector store must do: additions and removals. A part of `store_suite.VectorStoreSuite`."""

import numpy as np
import pytest

from rag_qa.protocols import Condition, Metadata, VectorStore

from .store_model import DIMENSION, TOLERANCE, about, id_array, unit_vectors


class Adding:
    """The fixture `store` gives an empty store for `DIMENSION`."""

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


class Removing:
    """The fixture `store` gives an empty store for `DIMENSION`."""

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
