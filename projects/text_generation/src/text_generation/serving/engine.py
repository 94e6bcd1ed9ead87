"""What the server asks of a model: start an answer, tell of its pieces, stop it. One protocol, two ways to keep it.

`BatchEngine` steps all answers of a local model in one batch (`scheduler`). `ThreadEngine` gives each answer of any
other back end a thread that draws from its `stream`.
"""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from roadmap_shared.errors import UserError
from text_generation.backends.prompts import check_prompts
from text_generation.backends.types import Backend, Generation, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.structured import constraint_of

if TYPE_CHECKING:
    from text_generation.backends.hf import HuggingFaceBackend
    from text_generation.prompting.constrained_decoding import ConstraintState

Ending = Generation | Exception | None
"""The finished answer, what went wrong, or None for an answer that was cancelled."""

Cancel = Callable[[], None]
"""Stops an answer before its next token. Safe to call from any thread, twice, and after the end."""

_JOIN_SECONDS = 2.0
"""That `close` waits for all threads together."""


@dataclass(frozen=True)
class Encoded:
    """A prompt and how long it is."""

    prompt: Prompt
    n_tokens: int
    ids: Sequence[int] = ()
    """Token ids, where the engine has them."""


class Engine(Protocol):
    """Generates several answers at a time."""

    @property
    def name(self) -> str:
        """The model's name for clients."""
        ...

    @property
    def context_window(self) -> int:
        """Tokens of prompt and answer together."""
        ...

    @property
    def slots(self) -> int:
        """Answers at a time. The caller keeps to it: whoever is too many waits outside."""
        ...

    def encode(self, prompt: Prompt) -> Encoded:
        """Count a prompt's tokens. Takes time in proportion to its length; safe in any one thread at a time.

        Raises:
            UserError: the prompt is empty.
        """
        ...

    def check(self, decoding: DecodingConfig) -> None:
        """Check that an answer can be held to the JSON Schema or regular expression that the settings name. Takes time
        in proportion to its size; safe in any one thread at a time.

        Raises:
            UserError: it is none, or cannot be enforced.
        """
        ...

    def submit(
        self,
        encoded: Encoded,
        decoding: DecodingConfig,
        seed: int,
        on_text: Callable[[str], None],
        on_end: Callable[[Ending], None],
    ) -> Cancel:
        """Start an answer and return at once. Where it cannot be started, that is raised and `on_end` is not called.

        `on_text` gets its pieces in order, `on_end` is called once and last, also after a cancellation; both from
        another thread.
        """
        ...

    def close(self) -> None:
        """Cancel all answers."""
        ...


class ThreadEngine:
    """Any back end, with a thread for each answer. Cancelling closes the generator that `stream` returned."""

    def __init__(self, backend: Backend, slots: int, name: str | None = None) -> None:
        """Args:
        backend: must bear `slots` calls of `stream` at a time.
        slots: answers at a time.
        name: the model's name for clients. None: the back end's.
        """
        self._backend = backend
        self._jobs: dict[threading.Thread, threading.Event] = {}
        self.slots = slots
        self.name = name or backend.name
        self.context_window = backend.context_window

    def encode(self, prompt: Prompt) -> Encoded:
        check_prompts([prompt])
        return Encoded(prompt, self._backend.count_tokens(prompt))

    def check(self, decoding: DecodingConfig) -> None:
        constraint_of(decoding)

    def submit(
        self,
        encoded: Encoded,
        decoding: DecodingConfig,
        seed: int,
        on_text: Callable[[str], None],
        on_end: Callable[[Ending], None],
    ) -> Cancel:
        cancelled = threading.Event()

        def work() -> None:
            try:
                ending = self._answer(encoded, decoding, seed, on_text, cancelled)
            except Exception as error:
                ending = error
            self._jobs.pop(threading.current_thread(), None)
            on_end(ending)

        thread = threading.Thread(target=work, name="answer", daemon=True)
        self._jobs[thread] = cancelled
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            del self._jobs[thread]
            raise
        return cancelled.set

    def close(self) -> None:
        jobs = dict(self._jobs)
        for cancelled in jobs.values():
            cancelled.set()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in jobs:
            # A thread that waits for a server cannot be interrupted; it ends with the process.
            thread.join(max(0.0, deadline - time.monotonic()))

    def _answer(
        self,
        encoded: Encoded,
        decoding: DecodingConfig,
        seed: int,
        on_text: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Generation | None:
        pieces: Any = self._backend.stream(encoded.prompt, decoding, seed)
        text: list[str] = []
        with closing(pieces) if hasattr(pieces, "close") else nullcontext():
            for piece in pieces:
                if cancelled.is_set():
                    return None
                text.append(piece)
                on_text(piece)
        whole = "".join(text)
        # `stream` tells neither the number of tokens nor why it ended: both are what the text's length says.
        n_new = self._backend.count_tokens(whole) if whole else 0
        return Generation(
            text=whole,
            finish_reason="length" if n_new >= decoding.most_new_tokens else "stop",
            prompt_tokens=encoded.n_tokens,
            new_tokens=n_new,
        )


class BatchEngine:
    """A local Hugging Face model: all answers share each forward pass."""

    def __init__(self, model: "HuggingFaceBackend", slots: int, name: str | None = None) -> None:
        """Args:
        model: one for which `scheduler.can_batch(model.network)` holds. It is this engine's alone.
        slots: rows of a batch at most.
        name: the model's name for clients. None: the back end's.
        """
        from text_generation.serving.scheduler import Scheduler

        self._model = model
        # A long prompt is encoded in another thread than the scheduler's, which must not wait for it.
        self._tokenizer = copy.deepcopy(model.tokenizer)
        self._scheduler = Scheduler(model.network)
        self._scheduler.start()
        # What `check` compiled is at hand for `submit`, which must be quick.
        self._first_state = lru_cache(maxsize=64)(self._compiled)
        self.slots = slots
        self.name = name or model.name
        self.context_window = model.context_window

    def encode(self, prompt: Prompt) -> Encoded:
        check_prompts([prompt])
        ids = self._model.encode(prompt)
        if not ids:
            raise UserError("the prompt is empty: its text has no token")
        return Encoded(prompt, len(ids), ids)

    def check(self, decoding: DecodingConfig) -> None:
        self._first_state(decoding.json_schema, decoding.regex)

    def submit(
        self,
        encoded: Encoded,
        decoding: DecodingConfig,
        seed: int,
        on_text: Callable[[str], None],
        on_end: Callable[[Ending], None],
    ) -> Cancel:
        from text_generation.backends.answers import Answer
        from text_generation.backends.hf import PLAIN_STOP
        from text_generation.serving.scheduler import Sequence as Row

        plain = not isinstance(encoded.prompt, str) and not self._model.tokenizer.chat_template
        stop = (*decoding.stop, PLAIN_STOP) if plain else decoding.stop
        answer = Answer(self._tokenizer, encoded.ids, stop, self._model.end_tokens)
        state = self._first_state(decoding.json_schema, decoding.regex)
        row = Row(answer, decoding, seed, on_text, on_end, None if state is None else state.copy())
        self._scheduler.submit(row)
        return row.cancelled.set

    def close(self) -> None:
        self._scheduler.close()

    def _compiled(self, json_schema: str | None, regex: str | None) -> "ConstraintState | None":
        constraint = constraint_of(DecodingConfig(json_schema=json_schema, regex=regex))
        return None if constraint is None else self._model.constraint_engine.start(constraint)
