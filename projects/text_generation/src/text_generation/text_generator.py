"""One generator over all back ends: it tries again, counts tokens, keeps conversations within the context.

```python
with open_generator(BackendConfig()) as generator:
    print(generator.generate("Once upon a time", NUCLEUS).text)
    print(generator.generate("Is the sea blue? ", DecodingConfig(regex="(yes|no)")).text)
```
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from roadmap_shared.errors import UserError
from text_generation.backends.retrying import RetryPolicy
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Backend, BackendError, Generation, Likelihood, Message, Prompt
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import NUCLEUS, DecodingConfig

Result = TypeVar("Result")
_NEED_A_KEY = ("api.openai.com", "azure.com")


class TextGenerator:
    """Asks a back end, with retries, a limit of time, and conversations trimmed to the context.

    A back end that fails for good ends in a `UserError`: one line that says which server and how often it was tried.
    """

    def __init__(self, backend: Backend, *, retry: RetryPolicy | None = None, timeout: float = float("inf")) -> None:
        """Args:
        backend: what answers. One that tries again by itself, as `OpenAIBackend` does, is not tried further.
        retry: how often a `BackendError` is answered by another attempt. None takes the defaults.
        timeout: seconds for one call, whatever `retry` allows. No further attempt begins after them, and a stream
            ends at the next piece; an answer that is being computed is not cut short otherwise.
        """
        if not timeout > 0:
            raise ValueError(f"timeout {timeout} must be above 0 seconds")
        self.backend = backend
        policy = retry or RetryPolicy()
        self._retry = replace(policy, total=min(policy.total, timeout))
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The back end's name."""
        return self.backend.name

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens that the prompt takes."""
        return self.backend.count_tokens(prompt)

    def generate(self, prompt: Prompt, decoding: DecodingConfig = NUCLEUS, seed: int = 0) -> Generation:
        """The answer to one prompt. Errors as for `generate_many`."""
        return self.generate_many([prompt], decoding, seed)[0]

    def generate_many(
        self, prompts: Sequence[Prompt], decoding: DecodingConfig = NUCLEUS, seed: int = 0
    ) -> list[Generation]:
        """The answers to several prompts, in their order.

        Raises:
            UserError: a prompt is empty or too long, or the back end does not answer.
        """
        return self._asked(lambda: self.backend.generate(prompts, decoding, seed)) if prompts else []

    def stream(self, prompt: Prompt, decoding: DecodingConfig = NUCLEUS, seed: int = 0) -> Iterator[str]:
        """The answer in pieces. Another attempt is made only before the first piece: what was said is not unsaid.

        Raises:
            UserError: as for `generate_many`; the back end breaks off; or the time is over.
        """
        start = time.monotonic()
        pieces: Iterator[str] = iter(())

        def begin() -> str | None:
            nonlocal pieces
            pieces = self.backend.stream(prompt, decoding, seed)
            return next(pieces, None)

        piece = self._asked(begin)
        try:
            while piece is not None:
                yield piece
                if time.monotonic() - start > self._timeout:
                    raise UserError(
                        f"{self.name} was not done within {self._timeout:g} seconds: the answer ends early."
                    )
                with _as_user_error():
                    piece = next(pieces, None)
        finally:
            # Closing it frees the connection, or the model, where the caller reads no further.
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def chat(self, messages: Sequence[Message], decoding: DecodingConfig = NUCLEUS, seed: int = 0) -> Generation:
        """The assistant's next turn, after `fitted`. Errors as for `generate_many` and `fitted`."""
        return self.generate(self.fitted(messages, decoding), decoding, seed)

    def stream_chat(
        self, messages: Sequence[Message], decoding: DecodingConfig = NUCLEUS, seed: int = 0
    ) -> Iterator[str]:
        """The assistant's next turn in pieces, after `fitted`."""
        return self.stream(self.fitted(messages, decoding), decoding, seed)

    def likelihood(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How probable each continuation is after its prompt.

        Raises:
            UserError: the back end cannot tell, or does not answer.
        """
        return self._asked(lambda: self.backend.likelihood(pairs)) if pairs else []

    def fitted(self, messages: Sequence[Message], decoding: DecodingConfig) -> list[Message]:
        """Leave out a conversation's oldest turns, as `trimmed` does, for an answer that `decoding` asks for.

        Where `max_new_tokens` is None, earlier turns stay as long as they leave the answer `default_new_tokens` or half
        of the context, whichever is less; what must stay may take all but one token of it.
        """
        if decoding.max_new_tokens is not None:
            return self.trimmed(messages, decoding.max_new_tokens)
        return self.trimmed(messages, min(decoding.default_new_tokens, self.backend.context_window // 2), at_least=1)

    def trimmed(self, messages: Sequence[Message], new_tokens: int, at_least: int | None = None) -> list[Message]:
        """Leave out a conversation's oldest turns until it fits the context with `new_tokens` for the answer.

        System prompts and everything from the last turn of the user on always stay. What stays of the rest is a run
        up to the end, so that no gap is made, and it does not begin with an answer whose question is gone.

        Args:
            messages: the conversation.
            new_tokens: tokens to leave for the answer.
            at_least: tokens to leave where nothing but what must stay is left. None: `new_tokens`.

        Raises:
            UserError: what must stay is too long by itself.
        """
        window, kept, length = self.backend.context_window, list(messages), 0
        for first in _possible_starts(messages):
            kept = [turn for index, turn in enumerate(messages) if turn.role == "system" or index >= first]
            if (length := self.backend.count_tokens(kept)) + new_tokens <= window:
                return kept
        if at_least is not None and length + at_least <= window:
            return kept
        raise self._too_long(kept, length, new_tokens if at_least is None else None)

    def _too_long(self, kept: Sequence[Message], length: int, asked: int | None) -> UserError:
        """What is said of the turns that must stay. `asked`: --decoding.max_new_tokens, where it was given."""
        both = any(turn.role == "system" for turn in kept)
        what = "the system prompt and the last turn have" if both else "the last turn has"
        context = f"the {self.backend.context_window} tokens of {self.name}'s context"
        which = "one of them" if both else "it"
        if asked is None:
            return UserError(f"{what} {length} tokens: no room for an answer is left in {context}. Shorten {which}.")
        return UserError(
            f"{what} {length} tokens; with --decoding.max_new_tokens {asked} that is more than {context}. Shorten "
            f"{which}, or lower --decoding.max_new_tokens."
        )

    def _asked(self, ask: Callable[[], Result]) -> Result:
        with _as_user_error():
            return self._retry.call(ask)


def _possible_starts(messages: Sequence[Message]) -> list[int]:
    """Indices at which what is kept of a conversation may begin, the earliest first: each turn of the user.

    Raises:
        UserError: there is no turn of the user.
    """
    starts = [index for index, turn in enumerate(messages) if turn.role == "user"]
    if not starts:
        raise UserError("the conversation has no turn of the user: there is nothing to answer.")
    # The whole conversation comes first, even one that the assistant has begun.
    return [0, *starts] if starts[0] != 0 else starts


@contextmanager
def _as_user_error() -> Iterator[None]:
    try:
        yield
    except BackendError as error:
        raise UserError(f"{error}.") from error


def open_backend(config: BackendConfig) -> Backend:
    """Build the back end that the settings name. torch and the client are imported only where they are needed.

    Raises:
        UserError: the model, the key or the script is not there.
    """
    if config.kind == "scripted":
        return ScriptedBackend(_script(Path(config.model)), repeat=True, name=Path(config.model).stem)
    if config.kind == "hf":
        from text_generation.backends.hf import HuggingFaceBackend
        from text_generation.backends.trained import model_source

        return HuggingFaceBackend.load(model_source(config.model), device=config.device, batch_size=config.batch_size)
    from text_generation.backends.openai_client import OpenAIBackend

    key = os.environ.get(config.api_key_env, "")
    host = urlsplit(config.base_url).hostname or ""
    if not key and host.endswith(_NEED_A_KEY):
        raise UserError(
            f"{host} needs a key, and the environment variable {config.api_key_env} holds none. Set it, or name "
            "another with --backend.api_key_env."
        )
    return OpenAIBackend(
        config.model,
        base_url=config.base_url,
        api_key=key,
        texts_as=config.texts_as,
        context_window=config.context_window,
        timeout=config.timeout,
        parallel=config.batch_size,
        retry=RetryPolicy(retries=config.retries, total=_total(config)),
    )


@contextmanager
def open_generator(config: BackendConfig) -> Iterator[TextGenerator]:
    """Within it, a generator over `open_backend`; afterwards its connections are closed."""
    backend = open_backend(config)
    try:
        yield TextGenerator(backend, retry=RetryPolicy(retries=config.retries), timeout=_total(config))
    finally:
        close = getattr(backend, "close", None)
        if close is not None:
            close()


def _total(config: BackendConfig) -> float:
    return float("inf") if config.total_timeout is None else config.total_timeout


def _script(path: Path) -> list[str]:
    try:
        answers = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--backend.model {path}: cannot be read as a script of answers, one a line: {error}"
        ) from error
    if not answers:
        raise UserError(f"--backend.model {path}: holds no answer. Write one on each line.")
    return answers
