"""A back end that says what it was told to say: for tests and demonstrations, without a model."""

import re
from collections.abc import Callable, Iterator, Sequence

from roadmap_shared.errors import UserError
from text_generation.backends.prompts import answer_limits, as_messages, check_prompts
from text_generation.backends.stopping import cut_at_stop
from text_generation.backends.types import BackendError, Generation, Likelihood, Prompt
from text_generation.config.decoding import DecodingConfig

_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+\Z")


class ScriptedBackend:
    """Answers prompts from a list, in order, or by a function. A token is a word with the space before it.

    What was asked is kept in `asked`, one entry a prompt, so that a test can look at it.
    """

    counts_exactly = True

    def __init__(
        self,
        answers: Sequence[str] | Callable[[Prompt], str],
        *,
        likelihood: Callable[[Prompt, str], float] | None = None,
        failures: int = 0,
        repeat: bool = False,
        context_window: int = 100_000,
        name: str = "scripted",
    ) -> None:
        """Args:
        answers: the answers in the order of the prompts, or a function of the prompt.
        likelihood: -ln p(continuation | prompt) in nats. None: `likelihood` is a user's mistake, as with a
            server.
        failures: this many calls of `generate`, `stream` or `likelihood` raise `BackendError` before the
            first one succeeds. A failed call uses up no answer.
        repeat: begin again with the first answer after the last one.
        context_window: words of prompt and answer together.
        name: what a report calls it.
        """
        self._answers = answers
        self._likelihood = likelihood
        self._failures_left = failures
        self._repeat = repeat
        self._given = 0
        self.name = name
        self.context_window = context_window
        self.asked: list[Prompt] = []

    def count_tokens(self, prompt: Prompt) -> int:
        """Words of the prompt; a turn of a conversation counts one more, for the mark of its role."""
        if isinstance(prompt, str):
            return len(words(prompt))
        return sum(1 + len(words(message.content)) for message in as_messages(prompt))

    def generate(self, prompts: Sequence[Prompt], decoding: DecodingConfig, seed: int = 0) -> list[Generation]:
        """Return the next answer for each prompt, cut at a stop sequence and at the limit of `answer_limits` in words.

        Raises:
            UserError: a prompt is empty or too long, as with any back end, or the answer is to be of a given form.
            BackendError: as often as the constructor was told.
            RuntimeError: all answers have been given.
        """
        check_prompts(prompts)
        if decoding.is_constrained:
            raise UserError(
                f"the back end '{self.name}' says what its script says: it cannot keep to a JSON Schema or a regular "
                "expression."
            )
        lengths = [self.count_tokens(prompt) for prompt in prompts]
        limits = answer_limits(lengths, decoding, self.context_window, self.name)
        self._fail_if_told()
        return [
            self._answer(prompt, length, limit, decoding.stop)
            for prompt, length, limit in zip(prompts, lengths, limits, strict=True)
        ]

    def stream(self, prompt: Prompt, decoding: DecodingConfig, seed: int = 0) -> Iterator[str]:
        """Yield the next answer word by word. Errors as for `generate`, when the first word is asked for."""
        yield from self.generate([prompt], decoding, seed)[0].tokens

    def likelihood(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """Apply the likelihood function to each pair.

        Raises:
            UserError: the constructor was given none.
            BackendError: as often as the constructor was told.
        """
        if self._likelihood is None:
            raise UserError(f"the back end '{self.name}' cannot tell how probable a text is. Use a local model.")
        self._fail_if_told()
        return [
            Likelihood(self._likelihood(prompt, text), n_tokens=len(words(text)), n_bytes=len(text.encode()))
            for prompt, text in pairs
        ]

    def _answer(self, prompt: Prompt, prompt_tokens: int, limit: int, stop: Sequence[str]) -> Generation:
        self.asked.append(prompt)
        text, _ = cut_at_stop(self._next_answer(prompt), stop)
        tokens = words(text)
        kept = tokens[:limit]
        return Generation(
            text="".join(kept),
            finish_reason="length" if len(kept) < len(tokens) else "stop",
            prompt_tokens=prompt_tokens,
            new_tokens=len(kept),
            tokens=tuple(kept),
        )

    def _next_answer(self, prompt: Prompt) -> str:
        if callable(self._answers):
            return self._answers(prompt)
        if self._given >= len(self._answers) and not (self._repeat and self._answers):
            raise RuntimeError(f"the script has {len(self._answers)} answers, and one more was asked for")
        answer = self._answers[self._given % len(self._answers)]
        self._given += 1
        return answer

    def _fail_if_told(self) -> None:
        if self._failures_left > 0:
            self._failures_left -= 1
            raise BackendError(f"the back end '{self.name}' was told to fail")


def words(text: str) -> list[str]:
    """Cut a text into words, each with the white space before it: joined they are the text."""
    return _WORD.findall(text)
