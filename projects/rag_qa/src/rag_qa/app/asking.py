"""From a request to an answer: history, retrieval, generation, the record of it. Runs in a worker's thread."""

import functools
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

from rag_qa.app.analytics import Analytics, Asked
from rag_qa.app.conversations import Conversations
from rag_qa.app.errors import ApiError
from rag_qa.app.keys import Caller
from rag_qa.app.library import Library
from rag_qa.app.metrics import ServerMetrics
from rag_qa.app.schemas import AskRequest, SearchRequest, answer_json, retrieved_json
from rag_qa.config.serving import ServeConfig
from rag_qa.generation.citation_handler import on_their_pages
from rag_qa.protocols import Condition, Turn, Where
from rag_qa.types import Answer, Retrieved, User

Tell = Callable[[str, dict[str, Any]], None]
"""Takes an event's name and content."""


class Abandoned(Exception):
    """The one who asked has gone."""


class Asking:
    """Answers and searches for callers of the API."""

    def __init__(
        self,
        library: Library,
        config: ServeConfig,
        analytics: Analytics,
        metrics: ServerMetrics,
        conversations: Conversations,
    ) -> None:
        self._library, self._config, self._analytics = library, config, analytics
        self._metrics, self._conversations = metrics, conversations

    def search(self, caller: Caller, request: SearchRequest) -> dict[str, Any]:
        """Passages with the rank and score of every stage.

        Raises:
            ApiError: 404, there is no such document for the caller; 400, the request asks for too much.
        """
        self._check(request.question)
        if request.k is not None and request.k > self._config.api.max_results:
            raise ApiError(400, f"'k' must be at most {self._config.api.max_results}")
        begun = time.perf_counter()
        self._library.refresh()
        where = self._where(caller.user, request.source)
        retriever = self._library.retriever(request.dense_weight)
        found = retriever.search(request.question, request.k, caller.user, where)
        self._check_visible(caller.user, found)
        return {
            "question": request.question,
            "results": [retrieved_json(item) for item in found],
            "seconds": {"retrieval": round(time.perf_counter() - begun, 4)},
        }

    def ask(
        self,
        caller: Caller,
        request: AskRequest,
        tell: Tell | None = None,
        abandoned: threading.Event | None = None,
        asked_at: float | None = None,
    ) -> dict[str, Any]:
        """An answer, and a row in the analytics however it ends.

        Args:
            caller: decides what is searched.
            request: the question.
            tell: told of `start` and of each `token`, where the answer is to be streamed.
            abandoned: set when nobody waits for the answer any more; it is given up at the next token.
            asked_at: when the request came, by `time.perf_counter`.

        Raises:
            ApiError: 404, the caller has no such document or conversation; 409, a document went away meanwhile.
            Abandoned: nobody waits any more.
        """
        self._check(request.question)
        work = _Work(secrets.token_urlsafe(12), tell, abandoned or threading.Event(), asked_at or time.perf_counter())
        user = caller.user
        self._library.refresh()
        where = self._where(user, request.source)
        conversation, history = self._history(user, request)
        try:
            answer = self._answer(user, request.question, where, history, work, conversation)
        except BaseException as error:
            self._record(user, request.question, "abandoned" if isinstance(error, Abandoned) else "failed", None, work)
            raise
        self._record(user, request.question, "refused" if answer.refused else "answered", answer, work)
        sources = frozenset(item.chunk.source for item in answer.retrieved)
        self._conversations.add(user.name, conversation, Turn(request.question, answer.text), sources)
        return answer_json(answer, work.id, conversation, work.seconds)

    def _answer(
        self, user: User, question: str, where: Where, history: list[Turn], work: "_Work", conversation: str
    ) -> Answer:
        work.stage("waiting")
        assistant = self._library.assistant
        found = assistant.search(question, user=user, where=where, history=history)
        work.stage("retrieval")
        work.tell("start", {"answer_id": work.id, "conversation_id": conversation})
        generator = assistant.generator_for(user)
        answer = _streamed(generator.stream(question, found, history), work) if work.streams else None
        if answer is None:
            answer = generator.answer(question, found, history)
        work.stage("generation")
        self._check_visible(user, [*found, *answer.retrieved])
        statements = on_their_pages(answer.statements, self._library.document_if_there)
        return replace(answer, question=question, statements=statements)

    def _check(self, question: str) -> None:
        if len(question) > self._config.api.max_question_characters:
            most = self._config.api.max_question_characters
            raise ApiError(400, f"the question has more than {most:,} characters: ask a shorter one")

    def _where(self, user: User, source: str | None) -> Where:
        if source is None:
            return ()
        self._library.require(user, source)
        return (Condition(field="source", any_of=(source,)),)

    def _history(self, user: User, request: AskRequest) -> tuple[str, list[Turn]]:
        if request.conversation_id is None:
            return self._conversations.begin(user.name), []
        identity = request.conversation_id
        sees = functools.partial(self._library.sees, user)
        return identity, self._conversations.history(user.name, identity, sees)

    def _check_visible(self, user: User, found: list[Retrieved]) -> None:
        """What was removed, or taken from the user, while it was read must not be told any more."""
        if not all(self._library.sees(user, source) for source in {item.chunk.source for item in found}):
            raise ApiError(409, "the documents changed while the answer was made: ask again")

    def _record(self, user: User, question: str, ending: str, answer: Answer | None, work: "_Work") -> None:
        work.seconds["total"] = time.perf_counter() - work.begun
        self._metrics.answers.labels(ending).inc()
        for stage, seconds in work.seconds.items():
            if stage != "total":
                self._metrics.stage_seconds.labels(stage).observe(seconds)
        asked = Asked(
            id=work.id,
            user=user.name,
            question=question,
            ending=ending,
            confidence=float(answer.confidence) if answer else None,
            n_retrieved=len(answer.retrieved) if answer else 0,
            seconds=work.seconds,
        )
        self._analytics.record(asked)


class _Work:
    """One answer in the making: its id, its clock, and whoever waits for it."""

    def __init__(self, identity: str, tell: Tell | None, abandoned: threading.Event, begun: float) -> None:
        self.id, self.begun = identity, begun
        self.seconds: dict[str, float] = {}
        self._tell, self._abandoned, self._last = tell, abandoned, begun

    @property
    def streams(self) -> bool:
        return self._tell is not None

    def stage(self, name: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now
        self._leave_if_alone()

    def tell(self, event: str, content: dict[str, Any]) -> None:
        """Tell whoever waits."""
        self._leave_if_alone()
        if self._tell is not None:
            self._tell(event, content)

    def _leave_if_alone(self) -> None:
        if self._abandoned.is_set():
            raise Abandoned


def _streamed(texts: Iterator[str], work: _Work) -> Answer | None:
    """Tell each text as it comes. Where `stream` is a generator that returns its answer, that is returned, and no model
    is asked twice; None otherwise."""
    try:
        while True:
            try:
                text = next(texts)
            except StopIteration as end:
                return end.value if isinstance(end.value, Answer) else None
            work.tell("token", {"text": text})
    finally:
        # A model's server is told at once where nobody waits any more.
        if isinstance(texts, Generator):
            texts.close()
