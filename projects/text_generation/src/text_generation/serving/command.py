"""`text-generation serve`: load a model, listen, serve until Ctrl-C."""

import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from roadmap_shared.errors import UserError, one_line
from roadmap_shared.sockets import listen
from text_generation.config.serving import ServingConfig
from text_generation.serving.engine import BatchEngine, Engine, ThreadEngine

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

NEEDED = ("fastapi", "prometheus_client", "uvicorn", "websockets")
_MOST_KEY_BYTES = 4096
_CLIENTS_FAULTS = (
    "Invalid UTF-8 sequence received from client.",
    "ASGI callable returned without completing handshake.",
    "ASGI callable returned without completing response.",
)


def run(config: ServingConfig) -> None:
    """Serve until Ctrl-C or SIGTERM; answers under way then have `--grace_seconds` to end.

    Raises:
        UserError: a package or the model is missing, the port is taken, the key cannot be read, or the address is a
            public one and there is no key.
    """
    check_packages()
    key = read_key(config)
    check_exposure(config, key)

    # Before the model is loaded: a port that is taken is known in no time.
    with listen(config.host, config.port) as listener:
        engine = build_engine(config)

        from text_generation.serving.app import create_app

        server = server_of(create_app(engine, config, key), config, listener)
        needs_key = "an API key is needed" if key else "no API key"
        place = address(config.host, listener)
        print(f"{engine.name} at {place} (API: {place}/v1, {needs_key}; Ctrl-C stops it)", flush=True)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # how uvicorn ends once it has shut down
            print("stopped")


def server_of(app: "FastAPI", config: ServingConfig, listener: socket.socket) -> "uvicorn.Server":
    """The server for an app, to be run with this listener.

    Where the system allows it, a connection whose client takes nothing for `--stall_seconds` is dropped by the kernel:
    uvicorn closes a connection only when the client has taken what was written.
    """
    import uvicorn

    from text_generation.serving.punctual import punctual

    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(min(config.stall_seconds, 86_400) * 1000))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            http=punctual(config.stall_seconds),
            ws="websockets-sansio",
            ws_max_size=config.max_body_bytes,
            limit_concurrency=config.max_connections,
            timeout_graceful_shutdown=config.grace_seconds,
        )
    )
    logging.getLogger("uvicorn.error").addFilter(is_servers_fault)
    return server


def is_servers_fault(record: logging.LogRecord) -> bool:
    """Whether a log record of uvicorn's tells of more than a client's mistake, with which it could fill the log.

    Broken UTF-8 in a WebSocket has a traceback; a WebSocket that `guard` refuses and a response that it gives up, since
    the client does not take it, have a line each.
    """
    return not record.getMessage().startswith(_CLIENTS_FAULTS)


def check_packages() -> None:
    """What serves is an extra, since training needs none of it.

    Raises:
        UserError: a package of it is missing.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f'{", ".join(missing)}: not installed. Run: pip install "roadmap-text-generation[demo]"')


def read_key(config: ServingConfig) -> str | None:
    """The key that clients must send, from the file or the environment variable; None where neither is given.

    Raises:
        UserError: the file cannot be read, or what is given is no key. The message never shows it.
    """
    if config.api_key_file is not None:
        place = f"--api_key_file {config.api_key_file}"
        key = _first_bytes(config.api_key_file, place)
    elif config.api_key_env in os.environ:
        place = f"environment variable {config.api_key_env}"
        key = os.environ[config.api_key_env]
    else:
        return None
    key = key.strip()
    if not key:
        raise UserError(f"{place}: holds no key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"{place}: a key is one word of ASCII characters, since it is sent in a header")
    return key


def check_exposure(config: ServingConfig, key: str | None) -> None:
    """Check that no stranger can use the model by accident.

    Raises:
        UserError: other machines would reach the server, and there is no key.
    """
    if not config.is_local and key is None and not config.allow_public:
        raise UserError(
            f"--host {config.host}: other machines could use the model without a key. Put one into the environment "
            f"variable {config.api_key_env} or into --api_key_file, or give --allow_public True"
        )


def build_engine(config: ServingConfig) -> Engine:
    """Load the model.

    Raises:
        UserError: there is none, or it is damaged.
    """
    from text_generation.text_generator import open_backend

    backend = open_backend(config.backend)
    name = config.model_name or client_name(config.backend.kind, config.backend.model)
    if config.backend.kind != "hf":
        return ThreadEngine(backend, config.backend.batch_size, name)

    from text_generation.backends.hf import HuggingFaceBackend
    from text_generation.serving.scheduler import can_batch

    assert isinstance(backend, HuggingFaceBackend)
    if can_batch(backend.network):
        return BatchEngine(backend, config.backend.batch_size, name)
    print(f"{name}: its cache cannot be batched row by row, so answers are made one after another", flush=True)
    return ThreadEngine(backend, 1, name)


def client_name(kind: str, model: str) -> str:
    """The model's name for clients: a hub id or a server's name as it is, of a path the last part alone."""
    if kind == "openai" or (kind == "hf" and not Path(model).exists()):
        return model
    path = Path(model).resolve()
    return path.parent.name if path.name == "model" and path.parent.name else path.stem if path.is_file() else path.name


def address(host: str, listener: socket.socket) -> str:
    """What to type into a browser."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def _first_bytes(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_KEY_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{place}: cannot be read ({one_line(getattr(error, 'strerror', None) or 'no text')})"
        ) from error
