"""What the Streamlit page can do, without Streamlit: one user at one index.

The same `Library` as the API's decides what is seen, so that the page and the API cannot come to differ in it.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rag_qa.app.analytics import Analytics, Asked, Summary
from rag_qa.app.errors import ApiError
from rag_qa.app.index_backend import IndexBackend
from rag_qa.app.keys import ANONYMOUS, Caller
from rag_qa.app.library import Backend, Entry, Indexed, Library
from rag_qa.app.ui_certificate import CertificateView, certificate_view
from rag_qa.app.ui_closeup import closeup
from rag_qa.app.ui_records import CitedPage, Exchange, UploadedBytes
from rag_qa.app.uploads import StagedFile, UploadFolder, check_content, checked_name, sha256_of
from rag_qa.config.serving import ServeConfig
from rag_qa.generation.agent import Agent, AgentStep
from rag_qa.generation.memory import bounded
from rag_qa.generation.tool_model import OpenAIToolModel, ToolModel
from rag_qa.protocols import Condition, Turn, Where
from rag_qa.types import Answer, Citation, Document, Page, Retrieved, User
from rag_qa.wording import has_pages
from roadmap_shared.errors import UserError

if TYPE_CHECKING:
    from rag_qa.assistant import Assistant

MEMORY_TOKENS = 1500
"""Estimated tokens of earlier turns that a generator gets."""

INSPECTED = 10
"""Passages that the retrieval inspector lists."""


class Desk:
    """Everything that one user does at one index. Any thread may call any method."""

    def __init__(
        self,
        assistant: "Assistant",
        config: ServeConfig,
        backend: Backend | None = None,
        tool_model: ToolModel | None = None,
    ) -> None:
        """Args:
        assistant: the index, open, with its retriever and generator.
        config: says who the user is (`--groups`), where uploads and analytics are kept, and the limits.
        backend: instead of the one over the assistant.
        tool_model: of the agent; None: the one of `--generation.kind openai`, if that is the kind.

        Raises:
            UserError: the file of analytics cannot be used.
        """
        self.config, self._assistant = config, assistant
        self._tool_model = tool_model or _tool_model(config)
        self.caller = Caller(User(name=ANONYMOUS, groups=config.groups), admin=config.is_local)
        self._uploads = UploadFolder(config.uploads)
        self._library = Library(backend or IndexBackend(assistant, config), self._uploads, lambda source: None)
        self._analytics = Analytics(
            config.analytics_path, days=config.api.analytics_days, record_questions=config.api.record_questions
        )

    @property
    def user(self) -> User:
        return self.caller.user

    def entries(self) -> list[Entry]:
        """Documents that the user may see, by name."""
        self._library.refresh()
        return self._library.entries(self.user)

    def ask(self, question: str, conversation: Sequence[Exchange] = (), source: str | None = None) -> Exchange:
        """An answer, recorded in the analytics.

        Args:
            question: may refer to the conversation.
            conversation: exchanges so far, oldest first; one whose documents are gone is forgotten.
            source: answer from this document alone.

        Raises:
            UserError: the question is empty or too long, there is no such document, or a back end failed.
        """
        self._check(question)
        self._library.refresh()
        history = self._history(conversation)
        where = self._where(source)
        assistant = self._library.assistant

        def answer(seconds: dict[str, float]) -> Answer:
            begun = time.perf_counter()
            found = assistant.search(question, user=self.user, where=where, history=history)
            seconds["retrieval"] = time.perf_counter() - begun
            made = assistant.generator_for(self.user).answer(question, found, history)
            seconds["generation"] = time.perf_counter() - begun - seconds["retrieval"]
            return replace(made, question=question)

        identity, made, seconds = self._recorded(question, answer)
        searched = assistant.standalone(question, history)
        return Exchange(id=identity, question=question, searched=searched, answer=made, seconds=seconds)

    @property
    def has_agent(self) -> bool:
        """Whether there is a model that can call tools."""
        return self._tool_model is not None

    def ask_agent(self, question: str, conversation: Sequence[Exchange] = ()) -> Exchange:
        """An answer by the agent, with all its steps; the tools see what the user may see.

        Raises:
            UserError: the question is empty or too long, there is no model for it, or the model cannot be reached.
        """
        self._check(question)
        if self._tool_model is None:
            raise UserError("the agent needs a model at a server: --generation.kind openai")
        self._library.refresh()
        asked = self._assistant.standalone(question, self._history(conversation))
        agent = Agent(self._assistant, self._tool_model)
        steps: list[AgentStep] = []

        def answer(seconds: dict[str, float]) -> Answer:
            result = agent.ask(asked, self.user)
            steps.extend(result.steps)
            return replace(result.answer, question=question)

        identity, made, seconds = self._recorded(question, answer)
        return Exchange(
            id=identity, question=question, searched=asked, answer=made, seconds=seconds, steps=tuple(steps)
        )

    def search(self, question: str, dense_weight: float | None = None, source: str | None = None) -> list[Retrieved]:
        """Passages with their rank and score in each stage; `dense_weight` None: as configured.

        Raises:
            UserError: as `ask`.
        """
        self._check(question)
        self._library.refresh()
        retriever = self._library.retriever(dense_weight)
        return retriever.search(question, INSPECTED, self.user, self._where(source))

    def feedback(self, exchange: Exchange, useful: bool, comment: str = "") -> bool:
        """Keep what the user thinks of an answer; False where no analytics are kept."""
        return self._analytics.feedback(exchange.id, self.user.name, useful, comment)

    def summary(self, days: int) -> Summary:
        """Usage of the last so many days."""
        return self._analytics.summary(days)

    def add(self, files: Sequence[UploadedBytes], groups: Sequence[str] = ()) -> list[Indexed]:
        """Index files one after another; what is wrong with one of them stands in its outcome.

        Raises:
            UserError: the user is not in one of the groups, or the index cannot be written.
        """
        with _plain():
            allowed = self._library.check_groups(self.user, groups)
        outcomes: list[Indexed] = []
        with self._uploads.staging() as folder:
            for number, file in enumerate(files):
                try:
                    name = checked_name(file.name)
                    check_content(name, file.data[:4096])
                    self._check_size(name, len(file.data))
                except ApiError as error:
                    outcomes.append(Indexed(file.name, None, problem=error.message))
                    continue
                path = folder / f"{number}{name[name.rindex('.') :].lower()}"
                path.write_bytes(file.data)
                outcomes += self._library.add(self.caller, [StagedFile(path, name, sha256_of(path))], allowed)
        return outcomes

    def delete(self, source: str) -> CertificateView:
        """Remove a document and its file.

        Raises:
            UserError: there is none that the user may see, or it is not the user's to delete.
        """
        with _plain():
            return certificate_view(self._library.delete(self.caller, source))

    def may_delete(self, source: str) -> bool:
        return self._library.may_delete(self.caller, source)

    def open(self, citation: Citation) -> CitedPage:
        """The page that a citation stands on.

        Raises:
            UserError: the document is gone, or its text is another one by now.
        """
        with _plain():
            document = self._library.document(self.user, citation.source)
        if document.text[citation.start : citation.end] != citation.quote:
            raise UserError(f"{citation.source} was changed since this answer: ask again")
        page = document.page_at(citation.start)
        image, near, remark = self._images(document, citation, page)
        return CitedPage(
            citation=citation,
            image=image,
            closeup=near,
            before=document.text[page.start : citation.start],
            quote=citation.quote,
            behind=document.text[citation.end : max(page.end, citation.end)],
            remark=remark,
        )

    def _images(self, document: Document, citation: Citation, page: Page) -> tuple[bytes | None, bytes | None, str]:
        if not has_pages(citation.source):
            return None, None, ""
        span = (citation.start, min(citation.end, page.end))
        try:
            image = self._library.page_image(self.user, document.source, page.number, *span)
            return image, closeup(image, self._library.page_image(self.user, document.source, page.number, 0, 0)), ""
        except ApiError as error:
            return None, None, error.message
        except UserError as error:
            return None, None, str(error)

    def _history(self, conversation: Sequence[Exchange]) -> list[Turn]:
        visible = [one for one in conversation if all(self._library.sees(self.user, name) for name in one.sources)]
        turns = [Turn(one.question, one.answer.text) for one in visible]
        return bounded(turns, self.config.api.conversation_turns, MEMORY_TOKENS)

    def _where(self, source: str | None) -> Where:
        if source is None:
            return ()
        with _plain():
            self._library.require(self.user, source)
        return (Condition(field="source", any_of=(source,)),)

    def _check(self, question: str) -> None:
        most = self.config.api.max_question_characters
        if not any(character.isalnum() for character in question):
            raise UserError("the question is empty: it needs a letter or a digit")
        if len(question) > most:
            raise UserError(f"the question has more than {most:,} characters: ask a shorter one")

    def _check_size(self, name: str, size: int) -> None:
        if size > self.config.api.max_upload_bytes:
            raise ApiError(413, f"{name}: has more than {self.config.api.max_upload_bytes:,} bytes")

    def _recorded(self, question: str, answer: Callable[[dict[str, float]], Answer]) -> tuple[str, Answer, float]:
        """Id, answer and seconds; however it ends, a row in the analytics. `answer` notes the seconds of its stages."""
        identity = secrets.token_urlsafe(12)
        ending, confidence, n_retrieved = "failed", None, 0
        seconds: dict[str, float] = {}
        begun = time.perf_counter()
        try:
            made = answer(seconds)
            ending = "refused" if made.refused else "answered"
            confidence, n_retrieved = float(made.confidence), len(made.retrieved)
        finally:
            seconds["total"] = time.perf_counter() - begun
            self._analytics.record(
                Asked(
                    id=identity,
                    user=self.user.name,
                    question=question,
                    ending=ending,
                    confidence=confidence,
                    n_retrieved=n_retrieved,
                    seconds=seconds,
                )
            )
        return identity, made, seconds["total"]


def _tool_model(config: ServeConfig) -> ToolModel | None:
    used = config.generation
    if used.kind != "openai":
        return None
    return OpenAIToolModel(used.model, used.base_url, used.api_key_env, used.timeout, used.retries)


@contextmanager
def _plain() -> Iterator[None]:
    """The API's refusals as messages for the page, which knows no HTTP."""
    try:
        yield
    except ApiError as error:
        raise UserError(error.message.replace("; GET /documents lists yours", "")) from None
