"""What every vector store must do: subclass `VectorStoreSuite` and give it a `store` fixture, as in
`test_vector_store.py`.

Expected results are those of `store_model.Model`.
"""

import pytest

from rag_qa.protocols import Condition, VectorStore

from .store_model import DIMENSION, TOLERANCE, Model, about, id_array, unit_vectors
from .store_suite_changes import Adding, Removing
from .store_suite_searches import Filtering, Searching

__all__ = ["DIMENSION", "Model", "VectorStoreSuite", "about", "id_array", "unit_vectors"]


class VectorStoreSuite(Adding, Removing, Filtering, Searching):
    """Behaviours of `rag_qa.protocols.VectorStore`. The fixture `store` gives an empty one for `DIMENSION`."""

    def reopened(self, store: VectorStore) -> VectorStore:
        """Another store over the same files or server, as a process started later would see it."""
        raise NotImplementedError

    keeps_unsaved = False
    """Whether a change lasts without `save`: a server's does."""

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
