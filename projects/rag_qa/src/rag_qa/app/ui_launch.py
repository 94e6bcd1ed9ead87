"""Streamlit in a process of its own, without questions, statistics and requests to elsewhere."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from rag_qa.config.serving import ServeConfig
from roadmap_shared.config.yaml_files import to_yaml
from roadmap_shared.errors import UserError
from roadmap_shared.sockets import listen

CONFIG_VARIABLE = "RAG_QA_CONFIG"
"""Environment variable that names a YAML file of `ServeConfig`, from which the page takes its settings."""

INDEX_VARIABLE = "RAG_QA_INDEX"
"""Environment variable with the index's folder, instead of the one in the YAML."""

GROUPS_VARIABLE = "RAG_QA_GROUPS"
"""Environment variable with the groups of whoever uses the page, separated by commas, instead of those in the YAML."""

PAGE = Path(__file__).with_name("streamlit_ui.py")
_MEGABYTE = 1_000_000
_THEME = {
    "theme.baseRadius": "0.6rem",
    "theme.light.primaryColor": "#2f6fde",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f6fa",
    "theme.dark.primaryColor": "#6ea0f5",
    "theme.dark.backgroundColor": "#14171c",
    "theme.dark.secondaryBackgroundColor": "#1e232b",
}


@contextlib.contextmanager
def launch(config: ServeConfig) -> Iterator[subprocess.Popen[bytes]]:
    """The page at `--host` and `--ui_port` while the context lasts.

    Raises:
        UserError: streamlit is not installed, or there are --keys: the page knows one user alone.
    """
    if find_spec("streamlit") is None:
        raise UserError('--ui True: streamlit is not installed. Run: pip install "roadmap-rag-qa[ui]"')
    if config.keys is not None:
        raise UserError("--ui True: the Streamlit page knows no users, so it cannot be opened beside --keys")
    check_port(config)
    with _ended_in_order(), tempfile.TemporaryDirectory(prefix="rag-qa-") as folder:  # readable by its owner alone
        settings = Path(folder) / "serve.yaml"
        settings.write_text(to_yaml(config), encoding="utf-8")
        # What it has to say of its address has been said; its errors go on to stderr.
        page = subprocess.Popen(command(config), env=environment(settings, os.environ), stdout=subprocess.DEVNULL)
        try:
            yield page
        finally:
            page.terminate()
            try:
                page.wait(timeout=config.api.grace_seconds + 5)
            except subprocess.TimeoutExpired:
                page.kill()
                page.wait()


def check_port(config: ServeConfig) -> None:
    """Raises UserError: the page could not listen, which it would tell its own process alone."""
    try:
        listen(config.host, config.ui_port).close()
    except UserError as error:
        problem = str(error).replace("--port", "--ui_port", 1).removesuffix(", or 0 for any that is free")
        raise UserError(problem) from None


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """While it lasts, SIGTERM ends the process by an exception, so that the page's process ends with it.

    uvicorn takes the signal, shuts down, and sends it once more; by default that ends the process on the spot.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command(config: ServeConfig) -> list[str]:
    """What starts the page."""
    options = {
        "server.headless": "true",  # no browser is opened, and no e-mail address asked for
        "server.address": config.host,
        "server.port": str(config.ui_port),
        "server.fileWatcherType": "none",
        "server.maxUploadSize": str(max(1, -(-config.api.max_upload_bytes // _MEGABYTE))),
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # a traceback shows paths of the server
        "logger.level": "warning",
        **_THEME,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(PAGE), *flags]


def environment(settings: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the page's process. What names another index or other groups is left out."""
    kept = {name: value for name, value in inherited.items() if name not in (INDEX_VARIABLE, GROUPS_VARIABLE)}
    return {**kept, CONFIG_VARIABLE: str(settings)}


def settings_from(environment: Mapping[str, str]) -> ServeConfig:
    """The settings that the environment names; without any, those of `rag-qa serve`.

    Raises:
        UserError: the YAML cannot be read.
    """
    from dataclasses import replace

    from roadmap_shared.config import load_config

    path = environment.get(CONFIG_VARIABLE)
    config = load_config(ServeConfig, Path(path)) if path else ServeConfig()
    if INDEX_VARIABLE in environment:
        config = replace(config, index=Path(environment[INDEX_VARIABLE]))
    if GROUPS_VARIABLE in environment:
        names = (name.strip() for name in environment[GROUPS_VARIABLE].split(","))
        config = replace(config, groups=tuple(filter(None, names)))
    return config
