"""Every setting of the project: one frozen dataclass a concern. Importing this is cheap: no torch."""

from rag_qa.config.agent import AgentCommandConfig, AgentConfig
from rag_qa.config.api import ApiConfig
from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.commands import (
    AskConfig,
    CalibrateConfig,
    ChatConfig,
    DeleteConfig,
    DocumentsConfig,
    EvaluateConfig,
    IngestConfig,
    RagConfig,
    SearchConfig,
)
from rag_qa.config.corpus import CorpusConfig
from rag_qa.config.encoder import EncoderConfig
from rag_qa.config.evaluation import EvaluationConfig
from rag_qa.config.generation import GenerationConfig
from rag_qa.config.reading import ReadOptions
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.config.serving import ServeConfig
from rag_qa.config.sparse import SparseConfig
from rag_qa.config.store import StoreConfig

__all__ = [
    "AgentCommandConfig",
    "AgentConfig",
    "ApiConfig",
    "AskConfig",
    "CalibrateConfig",
    "ChatConfig",
    "ChunkingConfig",
    "CorpusConfig",
    "DeleteConfig",
    "DocumentsConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "GenerationConfig",
    "IngestConfig",
    "RagConfig",
    "ReadOptions",
    "RetrievalConfig",
    "SearchConfig",
    "ServeConfig",
    "SparseConfig",
    "StoreConfig",
]
