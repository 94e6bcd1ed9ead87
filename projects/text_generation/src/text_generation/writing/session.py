"""A conversation with a model, one turn after another. `terminal` is its face."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import cast

from text_generation.config.decoding import DecodingConfig
from text_generation.config.writing import CHAT_DECODING
from text_generation.text_generator import TextGenerator
from text_generation.writing.history import History, Turn


class ChatSession:
    """Keeps the history, asks the model. Whatever ends an answer early, what was said of it is kept."""

    def __init__(
        self, generator: TextGenerator, history: History, decoding: DecodingConfig = CHAT_DECODING, seed: int = 0
    ) -> None:
        """Args:
        generator: what answers. It leaves out the oldest turns where the conversation outgrows the context.
        history: what was said before; every turn is added to it.
        decoding: how the model answers.
        seed: of the sampling. No two answers share their random numbers, and the same session gives the same
            answers.
        """
        self._generator, self.history = generator, history
        self._decoding, self._seed = decoding, seed
        self._n_empty = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self._generator.name

    @property
    def has_question(self) -> bool:
        """Whether there is a turn of the user."""
        return _last_question(self.history.turns) >= 0

    @property
    def unanswered(self) -> bool:
        """Whether the last turn is the user's."""
        return bool(self.history.turns) and self.history.turns[-1].role == "user"

    def say(self, text: str) -> Iterator[str]:
        """Say something; the answer comes in pieces.

        Raises:
            UserError: the turn does not fit the context, the model does not answer, or the history cannot be written.
        """
        self.history.add("user", text)
        yield from self._answer()

    def retry(self) -> Iterator[str]:
        """Another answer to the last question, in pieces. Errors as for `say`.

        Raises:
            ValueError: nothing has been asked.
        """
        turns = self.history.turns
        if not self.has_question:
            raise ValueError("nothing has been asked")
        answers = turns[_last_question(turns) + 1 :]
        if answers:
            self.history.take_back(answers)
        yield from self._answer()

    def undo(self) -> list[Turn]:
        """Take back the last question with its answer; returns what was taken back, [] where there is nothing."""
        turns = self.history.turns
        if not turns:
            return []
        last = turns[max(0, _last_question(turns)) :]
        self.history.take_back(last)
        return last

    def set_system(self, text: str) -> None:
        """Set the system prompt; "" takes it away."""
        if text != self.history.system:
            self.history.add("system", text)

    def _answer(self) -> Iterator[str]:
        pieces: list[str] = []
        # An answer without a text takes no number: another attempt would draw the same again.
        seed = self._seed + self.history.next_id + 1_000_003 * self._n_empty
        answer = self._generator.stream_chat(self.history.messages(), self._decoding, seed)
        whole = False
        try:
            with closing(cast("Generator[str, None, None]", answer)):
                for piece in answer:
                    pieces.append(piece)
                    yield piece
            whole = True
        finally:
            if said := "".join(pieces).strip():
                self.history.add("assistant", said, interrupted=not whole)
            else:
                self._n_empty += 1


def _last_question(turns: list[Turn]) -> int:
    """Index of the user's last turn, -1 where there is none."""
    return next((index for index in reversed(range(len(turns))) if turns[index].role == "user"), -1)
