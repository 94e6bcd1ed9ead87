"""`model-optimization serve`: load, listen, answer until SIGTERM or Ctrl-C."""

import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_optimization.config.serving import ServeCommandConfig, ServeConfig
from model_optimization.run_layout import CHOSEN, PROJECT, VARIANTS
from roadmap_shared.errors import UserError
from roadmap_shared.run_folders import latest_run
from roadmap_shared.sockets import listen

if TYPE_CHECKING:
    from model_optimization.deployment.lifecycle import DrainingServer
    from model_optimization.deployment.registry import Registry
    from model_optimization.deployment.server_keys import KeyRing
    from model_optimization.deployment.service import Service


def run(config: ServeCommandConfig) -> None:
    """Serve a variant, the champion of a registry, or what the latest run chose.

    Raises:
        UserError: there is no model, or it is damaged; the port is taken; keys or log cannot be used.
    """
    serve = config.serve
    if serve.variant is None and serve.registry is None:
        serve = replace(serve, variant=chosen_variant())
    from model_optimization.deployment.server_keys import load_admin_key, load_keys

    keys, admin = load_keys(serve.keys), load_admin_key(serve.admin_key)
    # Before the model is loaded: a port that is taken is known in no time.
    with listen(serve.host, serve.port) as listener:
        from model_optimization.deployment.fastapi_server import build_app
        from model_optimization.deployment.lifecycle import server_of
        from model_optimization.deployment.service import Service
        from model_optimization.monitoring.prediction_log import PredictionLog

        log = None if config.log.path is None else PredictionLog(config.log)
        try:
            service = Service(_registry(serve), serve, log)
            app = build_app(service, serve, keys=keys, admin=admin)
            if log is not None:
                from model_optimization.monitoring.dashboard import router

                service.metrics.watch_log(lambda: log.counts)
                app.include_router(router(log, config.dashboard))
            _serve(service, server_of(app, serve, service.state, listener), serve, keys, listener)
        finally:
            if log is not None:
                log.close()


def chosen_variant(root: Path = Path("runs")) -> Path:
    """Folder of the variant that the latest run chose.

    Raises:
        UserError: there is no run, or it was cut short.
    """
    instead = "give --serve.variant FOLDER or --serve.registry FOLDER"
    try:
        folder = latest_run(PROJECT, root)
    except UserError:
        raise UserError(
            f"{root / PROJECT}: holds no run yet: make one by `model-optimization run`, or {instead}"
        ) from None
    name = folder / CHOSEN
    if not name.is_file():
        raise UserError(f"{folder}: ended before a variant was chosen: {instead}")
    return folder / VARIANTS / name.read_text(encoding="utf-8").strip()


def _serve(
    service: "Service", server: "DrainingServer", config: ServeConfig, keys: "KeyRing", listener: socket.socket
) -> None:
    """Listen while the model is loaded, so that probes see a server that warms up, and serve."""
    failures: list[BaseException] = []
    place = address(config.host, listener)

    def load() -> None:
        try:
            service.load()
        except BaseException as error:  # raised below, in the thread of the command
            failures.append(error)
            server.should_exit = True
            return
        champion = service.versions.roles.champion
        print(f"serving {champion.name}, version {champion.number}, at {place} (Ctrl-C stops it)", flush=True)

    who = f"{len(keys)} API {'key' if len(keys) == 1 else 'keys'}" if len(keys) else "no API keys: everybody may ask"
    print(f"loading {config.variant or config.registry}; listening at {place} ({who})", flush=True)
    loader = threading.Thread(target=load, name="load")
    loader.start()
    with suppress(KeyboardInterrupt):  # how uvicorn ends once it has shut down
        server.run(sockets=[listener])
    loader.join()
    service.close()
    if failures:
        raise failures[0]
    state = service.state
    print(f"stopped: {state.accepted:,} requests accepted, {state.ended:,} of them ended", flush=True)


def _registry(config: ServeConfig) -> "Registry":
    from model_optimization.deployment.registry import open_registry
    from model_optimization.deployment.single_variant import SingleVariant

    if config.variant is not None:
        if not config.variant.is_dir():
            raise UserError(f"--serve.variant {config.variant}: there is no such folder")
        return SingleVariant(config.variant)
    assert config.registry is not None
    return open_registry(config.registry)


def address(host: str, listener: socket.socket) -> str:
    """What to type into a browser."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"
