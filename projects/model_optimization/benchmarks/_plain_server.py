"""What a tutorial writes: FastAPI around a pipeline. `python _plain_server.py FOLDER` prints its port."""

import socket
import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Request(BaseModel):
    """One text."""

    text: str


def build(folder: str) -> FastAPI:
    """The application."""
    app = FastAPI()
    classifier = pipeline("text-classification", model=folder, truncation=True)

    # Not async: FastAPI calls it in a thread, so that the event loop goes on meanwhile.
    @app.post("/v1/predict")
    def predict(request: Request) -> dict:
        best = classifier(request.text)[0]
        return {"predictions": [{"label": best["label"], "probability": best["score"]}]}

    return app


if __name__ == "__main__":
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        app = build(sys.argv[1])
        print(f"listening at http://127.0.0.1:{listener.getsockname()[1]} ", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])
