"""The config of each command."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.corpus import CorpusConfig
from rag_qa.config.embedding_cache import EmbeddingCacheConfig
from rag_qa.config.encoder import EncoderConfig
from rag_qa.config.evaluation import EvaluationConfig
from rag_qa.config.generation import GenerationConfig
from rag_qa.config.reading import ReadOptions
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.config.sparse import SparseConfig
from rag_qa.config.store import StoreConfig
from rag_qa.run_layout import DEFAULT_INDEX
from roadmap_shared.config import RunConfig, TrackingConfig

INDEX = DEFAULT_INDEX


@dataclass(kw_only=True, frozen=True)
class RagConfig:
    """`run`: index a corpus, measure every stage on questions about it, report."""

    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: CorpusConfig = field(default_factory=CorpusConfig)
    reading: ReadOptions = field(default_factory=ReadOptions)
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    embedding_cache: EmbeddingCacheConfig = field(default_factory=EmbeddingCacheConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    sparse: SparseConfig = field(default_factory=SparseConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(kw_only=True, frozen=True)
class IngestConfig:
    """`ingest`: add new and changed files to the index, drop what is gone, leave the rest alone."""

    paths: Positional[tuple[Path, ...]] = ()
    """Files and folders to read. A folder is read with all below it; files that are gone from it leave the index."""

    index: Path = INDEX
    """Folder of the index; it is made where there is none."""

    groups: tuple[str, ...] = ("public",)
    """Groups that may see these documents. Everybody is in `public`."""

    dry_run: bool = False
    """Say what would change, and change nothing."""

    reading: ReadOptions = field(default_factory=ReadOptions)
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)
    """Counts for a new index; one that is there keeps its own."""

    sparse: SparseConfig = field(default_factory=SparseConfig)
    """Counts for a new index; one that is there keeps its own."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    embedding_cache: EmbeddingCacheConfig = field(default_factory=EmbeddingCacheConfig)
    store: StoreConfig = field(default_factory=StoreConfig)

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError("--groups needs at least one name; `public` is everybody")
        check_groups(self.groups)


@dataclass(kw_only=True, frozen=True)
class SearchConfig:
    """`search`: which passages a question finds, and how."""

    question: Positional[str]
    """What to look for, in quotes."""

    index: Path = INDEX
    """Folder of the index. Where there is no such folder as the default one, the newest run's."""

    groups: tuple[str, ...] = ()
    """Groups of the one who asks, besides `public`."""

    source: str | None = None
    """Search this document alone."""

    json: bool = False
    """Print JSON, one passage a line."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)

    def __post_init__(self) -> None:
        check_question(self.question)
        check_groups(self.groups)


@dataclass(kw_only=True, frozen=True)
class AskConfig(SearchConfig):
    """`ask`: an answer from the index, each sentence with its source."""

    question: Positional[str]
    """The question, in quotes."""

    json: bool = False
    """Print the answer with all its citations as one JSON object."""

    generation: GenerationConfig = field(default_factory=GenerationConfig)


@dataclass(kw_only=True, frozen=True)
class ChatConfig:
    """`chat`: questions in turns."""

    index: Path = INDEX
    """Folder of the index. Where there is no such folder as the default one, the newest run's."""

    groups: tuple[str, ...] = ()
    """Groups of the one who asks, besides `public`."""

    history: Path | None = None
    """JSONL file that keeps the conversation; one that is there is gone on with."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)

    def __post_init__(self) -> None:
        check_groups(self.groups)


@dataclass(kw_only=True, frozen=True)
class DocumentsConfig:
    """`documents`: what is in the index."""

    index: Path = INDEX
    """Folder of the index. Where there is no such folder as the default one, the newest run's."""

    json: bool = False
    """Print JSON, one document a line."""


@dataclass(kw_only=True, frozen=True)
class DeleteConfig:
    """`delete`: remove documents and prove it."""

    sources: Positional[tuple[str, ...]] = ()
    """Documents, named as `documents` lists them."""

    index: Path = INDEX
    """Folder of the index."""

    certificate: Path | None = None
    """File for the certificate of deletion. None: one in the folder INDEX-certificates beside the index."""

    store: StoreConfig = field(default_factory=StoreConfig)


@dataclass(kw_only=True, frozen=True)
class CacheConfig:
    """`cache`: the vectors that are kept for the next time."""

    clear: bool = False
    """Remove the file. The next ingestion of the same files embeds them again."""

    embedding_cache: EmbeddingCacheConfig = field(default_factory=EmbeddingCacheConfig)


@dataclass(kw_only=True, frozen=True)
class EvaluateConfig:
    """`evaluate`: retrieval and answers on questions with known answers, one configuration or two."""

    path: Positional[Path]
    """BEIR folder (corpus.jsonl, queries.jsonl, qrels/), SQuAD-format JSON, or questions in YAML about --index, of
    which those that say `part: test` are asked."""

    index: Path | None = None
    """Folder of the index that questions in YAML are about; a data set is indexed in memory."""

    against: Path | None = None
    """YAML file of a second configuration, measured on the same questions, with wins and losses by question. What it
    does not say of chunking, encoder, retrieval and generation is as by default."""

    answers: bool = True
    """Measure answers and refusals, too. False: retrieval alone, which is much faster."""

    output: Path | None = None
    """File for the figures of each question, as JSON lines."""

    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)
    """Counts for a data set; --index has been cut already."""

    sparse: SparseConfig = field(default_factory=SparseConfig)
    """Counts for a data set; --index has its own."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    embedding_cache: EmbeddingCacheConfig = field(default_factory=EmbeddingCacheConfig)
    """Counts for a data set."""

    store: StoreConfig = field(default_factory=StoreConfig)
    """Counts for --index."""

    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(kw_only=True, frozen=True)
class CalibrateConfig:
    """`calibrate`: fit the refusal of an index to its documents."""

    index: Path = INDEX
    """Folder of the index. The calibration is kept in it, and used by every command that answers from it."""

    questions: Path | None = None
    """YAML file of questions about the documents, of which those that say `part: calibration` count; 10 at least. None:
    questions are made of the documents' own sentences, which come out somewhat too sure."""

    n_made: int = 150
    """Questions to make where --questions is None."""

    seed: int = 0
    """Seed of their choice."""

    risks: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    """Shares of answers without ground for which the threshold is told, above 0 and below 1."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)

    def __post_init__(self) -> None:
        if self.n_made < 30:
            raise ValueError(f"--n_made {self.n_made} must be at least 30")
        for risk in self.risks:
            if not 0 < risk < 1:
                raise ValueError(f"--risks {risk:g} must lie between 0 and 1")


def check_groups(groups: tuple[str, ...]) -> None:
    """Raise ValueError for a name that no group has: an empty one, or several joined by commas."""
    for group in groups:
        if not group.strip():
            raise ValueError("--groups has an empty name: leave it away, or name a group")
        if "," in group:
            raise ValueError(f"--groups {group}: separate names by blanks, as in: --groups {group.replace(',', ' ')}")


def check_question(question: str) -> None:
    """Raise ValueError for a question without a letter or digit."""
    if not any(character.isalnum() for character in question):
        raise ValueError('the question is empty: write it in quotes, as in: ask "How is text split?"')
