"""`bert-sentiment serve`: the page and the API at one address."""

import os
import socket
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bert_sentiment.config import ServeConfig
from roadmap_shared.errors import UserError
from roadmap_shared.sockets import listen

if TYPE_CHECKING:
    from fastapi import FastAPI

NEEDED = ("fastapi", "gradio", "uvicorn")
GRACE_SECONDS = 1
"""An open page holds a connection, which would be waited for without end."""


def run(config: ServeConfig) -> None:
    """Load the model, print the address, serve until Ctrl-C.

    Raises:
        UserError: a package is missing, there is no model, or the port is taken.
    """
    check_packages()
    import uvicorn

    with listen(config.host, config.port) as listener, TemporaryDirectory(prefix="bert-sentiment-") as uploads:
        # Gradio's usual folder may belong to another user of this machine, and keeps what was uploaded.
        os.environ["GRADIO_TEMP_DIR"] = uploads
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        app = build_app(config)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
        )
        print(f"{app.title} of {app.state.model}: {address(config.host, listener)}  (Ctrl-C stops it)", flush=True)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # how uvicorn ends once it has shut down
            print("stopped")


def check_packages() -> None:
    """What serves is an extra, since training needs none of it.

    Raises:
        UserError: a package of it is missing.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f'{", ".join(missing)}: not installed. Run: pip install "roadmap-bert-sentiment[demo]"')


def address(host: str, listener: socket.socket) -> str:
    """What to type into a browser."""
    name = "127.0.0.1" if host == "0.0.0.0" else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def build_app(config: ServeConfig) -> "FastAPI":
    """The API with the page mounted at `/`.

    Raises:
        UserError: there is no such model, or it is damaged.
    """
    from bert_sentiment.app.models import Models, runs_with_model
    from bert_sentiment.app.shared import Limits, SharedPredictor
    from bert_sentiment.inference.predictor import Predictor

    if config.model == "latest" and not runs_with_model(config.root):
        raise UserError(
            f"there is no trained model in {config.root}. Train one with `bert-sentiment run` or `make project-2`, or "
            "name one with --model or --root"
        )
    found = Predictor.find(config.model, config.root, config.device, unsure_below=config.unsure_below)
    first = SharedPredictor.of(found)
    models = Models(first, config.root, config.compare, config.device)

    from bert_sentiment.app.api import create_app
    from bert_sentiment.app.demo import Demo, mount_demo

    limits = Limits(max_texts=config.max_texts, max_characters=config.max_characters)
    app = create_app(first, limits, config.batch_size)
    app.state.model = first.name
    return mount_demo(app, Demo(first, models, limits, config.batch_size))
