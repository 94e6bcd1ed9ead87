"""Answers written by a language model, whatever it runs on: prompt within the context window, defence, citations."""

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation import prompts, shipped
from rag_qa.generation.citation_handler import cite
from rag_qa.generation.evidence import Evidence, EvidenceReader
from rag_qa.generation.extractive import chosen_span
from rag_qa.generation.injection_defence import spotlight, withheld
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.refusing import checked_question, nothing_found, refusal
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder, Turn
from rag_qa.types import Answer, Retrieved, Statement
from roadmap_shared.errors import UserError

Message = dict[str, str]
"""`role` and `content`."""

UNSUPPORTED = "[no passage supports this]"
_LEAST_PASSAGE = 40
"""Tokens of a passage below which it is left out instead of cut."""

_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?:\s*\[[\d,\s-]+\])*\s+(?=[^\s\[])|(?<=[。！？])(?:\s*\[[\d,\s-]+\])*(?=[^\s\[])|\n+"
)


class PromptedGenerator(ABC):
    """Implements `AnswerGenerator` for a model that goes on with messages."""

    name: str

    def __init__(
        self,
        config: GenerationConfig,
        encoder: Encoder,
        statistics: TermStatistics | None = None,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Args:
        config: settings.
        encoder: of sentences, for confidence and citations.
        statistics: rarity of terms in the corpus; None takes that of the retrieved passages.
        calibrator: of refusal; None takes the shipped one.
        """
        self.config, self.encoder = config, encoder
        self.reader = EvidenceReader(encoder, shipped.sentence_ranker(), statistics)
        self.calibrator = calibrator or shipped.default_calibrator()

    @abstractmethod
    def complete(self, messages: Sequence[Message]) -> Iterator[str]:
        """The model's answer in pieces."""

    @abstractmethod
    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt that these messages make."""

    @property
    @abstractmethod
    def context_window(self) -> int:
        """Tokens of prompt and answer together."""

    def answer(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Answer:
        """The model's answer, each sentence with its supporting span; refused where the passages do not seem to hold
        the answer, where the model says so, and where no sentence is supported.

        Raises:
            UserError: the question is empty, the prompt does not fit, or the model cannot be reached.
        """
        question = checked_question(question)
        evidence = self.reader.read(question, retrieved)
        refused = self._refusal_before(evidence, question, retrieved)
        if refused is not None:
            return refused
        text = "".join(self.complete(self.messages(question, retrieved, history))).strip()
        statements = () if _is_no_answer(text) else self._checked(text, question, retrieved)
        return self._answer_of(statements, evidence, question, retrieved)

    def stream(
        self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()
    ) -> Generator[str, None, Answer]:
        """The answer's sentences, each as soon as it is whole and checked: what is not supported is never shown.

        Returns the `Answer` made of these very sentences: whoever wants both asks the model once.

        Raises:
            UserError: as `answer`.
        """
        question = checked_question(question)
        evidence = self.reader.read(question, retrieved)
        refused = self._refusal_before(evidence, question, retrieved)
        if refused is not None:
            yield refused.text
            return refused
        statements: list[Statement] = []
        n_shown = 0
        for sentence in _sentences(self.complete(self.messages(question, retrieved, history))):
            if _is_no_answer(sentence):
                break
            statements += self._checked(sentence, question, retrieved)
            if any(statement.supported for statement in statements):  # before the first one it may become a refusal
                for statement in statements[n_shown:]:
                    yield (" " if n_shown else "") + _shown(statement)
                    n_shown += 1
        answer = self._answer_of(tuple(statements), evidence, question, retrieved)
        if answer.refused:
            yield answer.text
        return answer

    def messages(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> list[Message]:
        """System prompt, history, passages and question within the context window.

        What does not fit is left out in this order: the oldest turns, then the ends of the passages from the last one
        on. System prompt and question are never cut.

        Raises:
            UserError: there is no room even for the start of one passage.
        """
        room = self.context_window - self.config.max_new_tokens
        turns = list(history)
        while turns and self.count_tokens(self._built(question, retrieved, turns)) > room:
            turns.pop(0)
        texts = [item.chunk.text for item in retrieved]
        while self.count_tokens(self._built(question, retrieved, turns, texts)) > room:
            texts = self._shortened(texts, self.count_tokens(self._built(question, retrieved, turns, texts)) - room)
            if not texts:
                raise UserError(
                    f"the context window of {self.context_window} tokens holds no passage beside the instructions, the "
                    f"question and {self.config.max_new_tokens} tokens of answer. Use a model with a larger one, or a "
                    "smaller --generation.max_new_tokens."
                )
        return self._built(question, retrieved, turns, texts)

    def _shortened(self, texts: list[str], excess: int) -> list[str]:
        """Texts with the last one cut by about `excess` tokens, or left out where too little of it would stay."""
        last = texts[-1]
        n_tokens = max(1, self.count_tokens([{"role": "user", "content": last}]))
        keep = int(len(last) * (1 - (excess + 4) / n_tokens))
        if n_tokens - excess < _LEAST_PASSAGE or keep <= 0:
            return texts[:-1]
        return [*texts[:-1], last[: min(keep, len(last) - 1)]]

    def _built(
        self, question: str, retrieved: Sequence[Retrieved], turns: Sequence[Turn], texts: Sequence[str] | None = None
    ) -> list[Message]:
        texts = [item.chunk.text for item in retrieved] if texts is None else texts
        lit = spotlight(texts, self.config.injection_defence)
        passages = [
            prompts.passage_prompt(i, item.chunk.source, item.chunk.page, text)
            for i, (item, text) in enumerate(zip(retrieved, lit.passages, strict=False), 1)
        ]
        return [
            {"role": "system", "content": prompts.system_prompt(lit.note)},
            {"role": "user", "content": prompts.user_prompt(question, passages, turns)},
        ]

    def _answer_of(
        self, statements: tuple[Statement, ...], evidence: Evidence, question: str, retrieved: Sequence[Retrieved]
    ) -> Answer:
        """The checked sentences as an answer, or a refusal where none of them is supported."""
        confidence = self.calibrator.probability(evidence)
        if not any(statement.supported for statement in statements):
            return refusal(question, retrieved, confidence, self.name)
        span = chosen_span(evidence)
        shown = " ".join(_shown(statement) for statement in statements)
        return Answer(
            question=question,
            text=shown,
            statements=statements,
            span=span.text if span and span.text in shown else None,
            confidence=confidence,
            refused=False,
            retrieved=tuple(retrieved),
            generator=self.name,
        )

    def _refusal_before(self, evidence: Evidence, question: str, retrieved: Sequence[Retrieved]) -> Answer | None:
        if not evidence.sentences:
            return nothing_found(question, retrieved, self.name)
        confidence = self.calibrator.probability(evidence)
        too_low = confidence < self.config.refuse_below
        return refusal(question, retrieved, confidence, self.name) if too_low else None

    def _checked(self, text: str, question: str, retrieved: Sequence[Retrieved]) -> tuple[Statement, ...]:
        if self.config.injection_defence == "layered":
            text = withheld(text, question)
        return cite(
            text,
            retrieved,
            self.encoder,
            self.config.support,
            self.config.unsupported,
            distrust_instructions=self.config.injection_defence in ("filter", "layered"),
        )


def _shown(statement: Statement) -> str:
    return statement.text if statement.supported else f"{statement.text} {UNSUPPORTED}"


def _is_no_answer(text: str) -> bool:
    return text.strip(" .\n\"'*").upper().startswith(prompts.NO_ANSWER)


def _sentences(pieces: Iterator[str]) -> Iterator[str]:
    """Whole sentences with their marks, as soon as the next one has begun."""
    kept = ""
    for piece in pieces:
        kept += piece
        while (match := _SENTENCE_END.search(kept)) is not None:
            sentence, kept = kept[: match.end()], kept[match.end() :]
            if sentence.strip():
                yield sentence
    if kept.strip():
        yield kept
