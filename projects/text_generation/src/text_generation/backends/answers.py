"""An answer as it grows, token by token: its text, where it stops, and what it costs."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from text_generation.backends.stopping import StopScanner
from text_generation.backends.types import FinishReason, Generation

_CONTEXT = 5
"""Prompt tokens that are decoded with the answer: the first new token's text depends on what stands before it."""
_UNFINISHED = "\ufffd"


class TokenText:
    """Turns token ids into text piece by piece.

    A character whose bytes are spread over several tokens comes with the last of them, and a word keeps the space that
    some tokenizers leave out at the start of a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt[-_CONTEXT:])
        self._start, self._read = 0, len(self._ids)

    def push(self, token: int) -> str:
        """Take the next token; return the text that it completes, often a word, sometimes nothing."""
        self._ids.append(token)
        text = self._unread()
        if text.endswith(_UNFINISHED):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text

    def flush(self) -> str:
        """Return what no further token completes: U+FFFD for the bytes of a broken character."""
        text = self._unread()
        self._start = self._read = len(self._ids)
        return text

    def _unread(self) -> str:
        before = self._decode(self._ids[self._start : self._read])
        return self._decode(self._ids[self._start :])[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)


class Answer:
    """The answer to one prompt. `push` takes tokens until `finish_reason` is set."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Sequence[int],
        stop: Sequence[str],
        end_tokens: frozenset[int],
        limit: int | None = None,
    ) -> None:
        """Args:
        tokenizer: of the model.
        prompt: its token ids.
        stop: texts that end the answer.
        end_tokens: ids of the tokens that end it.
        limit: tokens that it has at most. None: until `cut` is called.
        """
        self.prompt = list(prompt)
        self.limit = limit
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._logprobs: list[float] = []
        self._pieces: list[str] = []
        self._shown: list[str] = []
        self._taken = 0
        self._end_tokens = end_tokens
        self._text = TokenText(tokenizer, prompt)
        self._scanner = StopScanner(stop)

    def push(self, token: int, logprob: float) -> None:
        """Take the next token and its log-probability under the model. One that ends the answer is not part of it."""
        if token in self._end_tokens:
            self._finish("stop")
            return
        self.tokens.append(token)
        self._logprobs.append(logprob)
        self._pieces.append(self._text.push(token))
        self._shown.append(self._scanner.push(self._pieces[-1]))
        if self._scanner.stopped:
            self.finish_reason = "stop"
        elif len(self.tokens) == self.limit:
            self.cut()

    def cut(self) -> None:
        """End the answer here: it has as many tokens as it may."""
        if self.finish_reason is None:
            self._finish("length")

    def take(self) -> str:
        """Return the text that has come since it was last taken. It is never taken back."""
        taken, self._taken = self._taken, len(self._shown)
        return "".join(self._shown[taken:])

    def generation(self) -> Generation:
        """The finished answer. A token that the stop sequence begins in counts, with the text before the stop."""
        text = "".join(self._shown)
        tokens: list[str] = []
        rest = len(text)
        for piece in self._pieces:
            if self._scanner.stopped and rest <= 0:
                break
            tokens.append(piece[: max(rest, 0)])
            rest -= len(piece)
        return Generation(
            text=text,
            finish_reason=self.finish_reason or "length",
            prompt_tokens=len(self.prompt),
            new_tokens=len(tokens),
            logprob=sum(self._logprobs[: len(tokens)]),
            tokens=tuple(tokens),
        )

    def _finish(self, reason: FinishReason) -> None:
        rest = self._text.flush()
        if rest:
            self._pieces[-1] += rest
        self._shown.append(self._scanner.push(rest) + self._scanner.flush())
        self.finish_reason = "stop" if self._scanner.stopped else reason
