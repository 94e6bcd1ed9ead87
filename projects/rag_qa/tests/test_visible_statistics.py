"""Term statistics by user: what is hidden changes nothing, and a change of the index is seen at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from rag_qa.assistant import Assistant
from rag_qa.config import GenerationConfig, RetrievalConfig
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.generation.extractive import ExtractiveGenerator
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.visible_statistics import VisibleStatistics, with_statistics
from rag_qa.types import Chunk, User

from .tiny_index import document, empty_index, sentences


@dataclass
class Held:
    """An index that is a list."""

    chunks: list[Chunk] = field(default_factory=list)
    generation: int = 0
    read: int = 0

    def all_chunks(self) -> Sequence[Chunk]:
        self.read += 1
        return self.chunks


def chunk(id: int, text: str, groups: tuple[str, ...]) -> Chunk:
    return Chunk(source=f"{id}.txt", start=0, end=len(text), text=text, page=1, id=id, groups=groups)


WORDS = st.lists(st.sampled_from(["valve", "pump", "oil", "torque", "seal"]), min_size=1, max_size=5).map(" ".join)
GROUPS = st.sampled_from([("public",), ("hr",), ("lab",), ("hr", "lab")])


@given(st.lists(st.tuples(WORDS, GROUPS), max_size=8), st.sampled_from([(), ("hr",), ("hr", "lab")]))
def test_figures_are_those_of_an_index_without_what_is_hidden(
    texts: list[tuple[str, tuple[str, ...]]], groups: tuple[str, ...]
) -> None:
    user = User(name="u", groups=groups)
    chunks = [chunk(n, text, allowed) for n, (text, allowed) in enumerate(texts)]
    visible = [one.text for one in chunks if not set(user.visible_groups).isdisjoint(one.groups)]
    assert VisibleStatistics(Held(chunks)).of(user) == TermStatistics.of(visible)


def test_a_change_is_seen_and_nothing_is_read_without_one() -> None:
    held = Held([chunk(1, "the valve", ("public",)), chunk(2, "the pump", ("hr",))])
    statistics, user = VisibleStatistics(held), User()
    assert statistics.of(user).frequencies == {"valv": 1}
    assert statistics.of(User(groups=("hr",))).frequencies == {"valv": 1, "pump": 1}
    assert held.read == 1
    held.chunks = [held.chunks[1], chunk(3, "more oil", ("public",))]
    held.generation = 1
    assert set(statistics.of(user).frequencies) == {"oil"}
    assert statistics.of(User(groups=("hr",))).n_passages == 2


def test_a_generator_without_evidence_stays_as_it_is() -> None:
    class Plain:
        name = "plain"

    plain = Plain()
    assert with_statistics(plain, lambda: TermStatistics(0, {}, 0.0)) is plain  # type: ignore[arg-type, comparison-overlap]


def test_a_hidden_word_does_not_change_the_confidence_of_an_answer() -> None:
    """A word that the corpus knows lowers the doubt about a question: that must not tell what hidden documents say."""
    question, stranger = "Where was Quillfeather last seen near the owl?", User()
    with empty_index(None) as index:
        add_documents(index, [document("owls.txt", sentences("owl"))])
        assistant = Assistant.over(index, RetrievalConfig(mode="dense"), GenerationConfig())
        assert isinstance(assistant.generator, ExtractiveGenerator)
        before = assistant.ask(question, user=stranger).confidence
        add_documents(index, [document("hr.txt", sentences("Quillfeather"))], ("hr",))
        assert assistant.ask(question, user=stranger).confidence == before
        found = assistant.search(question, user=stranger)
        of_hr = assistant.generator_for(User(groups=("hr",))).answer(question, found)
        assert of_hr.confidence != before
