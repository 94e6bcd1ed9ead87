"""What the tests of servers share: an app at a real socket, a model that says how it was asked, and patience."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI

from roadmap_shared.sockets import listen
from text_generation.backends.scripted import ScriptedBackend
from text_generation.config.serving import ServingConfig
from text_generation.serving.app import create_app
from text_generation.serving.command import address, server_of
from text_generation.serving.engine import ThreadEngine

SECRET = "s3cret-key"
LIMITS = ServingConfig(
    max_body_bytes=20_000, max_new_tokens=50, default_new_tokens=20, max_choices=2, stall_seconds=1.0, max_waiting=4,
    grace_seconds=1,
)  # fmt: skip
HELLO: Any = [{"role": "user", "content": "hello"}]
ASK: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def served(app: FastAPI, config: ServingConfig = LIMITS) -> Iterator[str]:
    """The app at a free port, in a thread."""
    with listen("127.0.0.1", 0) as listener:
        server = server_of(app, config, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield address("127.0.0.1", listener)
        finally:
            server.should_exit = True
            thread.join()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def echo_app(key: str | None = None, config: ServingConfig = LIMITS) -> FastAPI:
    """A model that says how it was asked: `system=...|user=...`, or the text itself."""

    def say(prompt: Any) -> str:
        if isinstance(prompt, str):
            return prompt
        return "|".join(f"{turn.role}={turn.content}" for turn in prompt)

    return create_app(ThreadEngine(ScriptedBackend(say, context_window=100), 2, "echo"), config, key)
