"""`rag-qa serve`: open the index, listen, serve until Ctrl-C."""

import contextlib
import logging
import socket
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rag_qa.app import ui_launch
from rag_qa.app.keys import KeyRing, load_keys
from rag_qa.config.serving import ServeConfig
from rag_qa.run_layout import index_to_read
from roadmap_shared.errors import UserError
from roadmap_shared.sockets import listen

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

_CLIENTS_FAULTS = ("ASGI callable returned without completing response.", "Invalid HTTP request received.")


def run(config: ServeConfig) -> None:
    """Serve until Ctrl-C or SIGTERM; answers under way then have `--api.grace_seconds` to end.

    Raises:
        UserError: there is no index, the port is taken, the keys cannot be read, or the address is a public one and
            there are no keys.
    """
    config = replace(config, index=index_to_read(config.index))
    keys = None if config.keys is None else load_keys(config.keys)
    check_exposure(config, keys)
    if config.ui and find_spec("streamlit") is None:
        raise UserError('--ui True: streamlit is not installed. Run: pip install "roadmap-rag-qa[ui]"')

    # Before the index is opened: a port that is taken is known in no time.
    with listen(config.host, config.port) as listener:
        from rag_qa.app.fastapi_api import create_app
        from rag_qa.assistant import Assistant

        assistant = Assistant.open(
            config.index,
            encoder=config.encoder,
            store=config.store,
            retrieval=config.retrieval,
            generation=config.generation,
        )
        server = server_of(create_app(assistant, config), config, listener)
        place = address(config.host, listener)
        who = f"{len(keys)} API {'key' if len(keys) == 1 else 'keys'}" if keys else "no API keys"
        with ui_launch.launch(config) if config.ui else contextlib.nullcontext():
            print(f"{config.index} at {place} ({who}; Ctrl-C stops it)", flush=True)
            if config.ui:
                print(f"Streamlit page at http://{config.host}:{config.ui_port}", flush=True)
            try:
                server.run(sockets=[listener])
            except KeyboardInterrupt:  # how uvicorn ends once it has shut down
                print("stopped")


def check_exposure(config: ServeConfig, keys: KeyRing | None) -> None:
    """Check that no stranger can read the documents by accident.

    Raises:
        UserError: other machines would reach the server, and there are no keys.
    """
    if not config.is_local and keys is None and not config.allow_public:
        raise UserError(
            f"--host {config.host}: other machines could read the documents without a key. Give a file of --keys "
            "(python -m rag_qa.app.keys NAME makes one), or --allow_public True"
        )


def server_of(app: "FastAPI", config: ServeConfig, listener: socket.socket) -> "uvicorn.Server":
    """The server for an app, to be run with this listener.

    Where the system allows it, a connection whose client takes nothing for `--api.stall_seconds` is dropped by the
    kernel: uvicorn closes a connection only when the client has taken what was written.
    """
    import uvicorn

    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        patience = int(min(config.api.stall_seconds, 86_400) * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=config.api.max_connections,
            timeout_graceful_shutdown=config.api.grace_seconds,
            # Whoever asks is told by its connection; headers that anybody can write are not believed.
            proxy_headers=False,
        )
    )
    logging.getLogger("uvicorn.error").addFilter(is_servers_fault)
    return server


def is_servers_fault(record: logging.LogRecord) -> bool:
    """Whether a log record of uvicorn's tells of more than a client's mistake, with which it could fill the log."""
    return not record.getMessage().startswith(_CLIENTS_FAULTS)


def address(host: str, listener: socket.socket) -> str:
    """What to type into a browser."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"
