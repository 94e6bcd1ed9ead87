"""The application: routes, guard and errors around one index."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from rag_qa.app import asking_api, documents_api, errors, operations_api
from rag_qa.app.analytics import Analytics
from rag_qa.app.asking import Asking
from rag_qa.app.conversations import Conversations
from rag_qa.app.guard import Guard
from rag_qa.app.keys import KeyRing, load_keys
from rag_qa.app.library import Backend, Library
from rag_qa.app.metrics import ServerMetrics
from rag_qa.app.uploads import UploadFolder
from rag_qa.app.workers import Workers
from rag_qa.config.serving import ServeConfig

if TYPE_CHECKING:
    from rag_qa.assistant import Assistant


def create_app(assistant: "Assistant", config: ServeConfig) -> FastAPI:
    """Serve an assistant.

    Args:
        assistant: the index in `config.index`, open, with its retriever and generator.
        config: keys, limits, and where uploads and analytics are kept.

    Raises:
        UserError: the file of keys or of analytics cannot be used.
    """
    from rag_qa.app.index_backend import IndexBackend

    return app_over(IndexBackend(assistant, config), config)


def app_over(backend: Backend, config: ServeConfig, keys: KeyRing | None = None) -> FastAPI:
    """Serve whatever can be asked and changed like an index; `keys` in place of those of `config.keys`."""
    if keys is None and config.keys is not None:
        keys = load_keys(config.keys)
    limits = config.api
    metrics = ServerMetrics()
    analytics = Analytics(config.analytics_path, days=limits.analytics_days, record_questions=limits.record_questions)
    conversations = Conversations(limits.conversation_turns, limits.conversations_per_user)
    uploads = UploadFolder(config.uploads)
    library = Library(backend, uploads, conversations.forget_document)
    workers = Workers("ask", limits.workers, limits.max_waiting, metrics.active, metrics.waiting)
    asking = Asking(library, config, analytics, metrics, conversations)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    # FastAPI's documentation pages fetch their scripts from another host.
    app = FastAPI(title="Questions to your documents", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, config=config, keys=keys, metrics=metrics)
    errors.install(app)
    app.include_router(operations_api.router(analytics, metrics))
    app.include_router(asking_api.router(asking, workers, analytics, conversations, limits.max_question_characters))
    app.include_router(documents_api.router(library, uploads, limits, metrics))
    return app
