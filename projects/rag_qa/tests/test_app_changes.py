"""Documents that come and go while others ask, over the real index; and the server's start and stop."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag_qa.app import serve
from rag_qa.app.fastapi_api import create_app
from rag_qa.assistant import Assistant
from rag_qa.config.api import ApiConfig
from rag_qa.config.chunking import ChunkingConfig
from rag_qa.config.generation import GenerationConfig
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.config.serving import ServeConfig
from rag_qa.document_processor import ingestion
from rag_qa.document_processor.index import Index
from roadmap_shared.errors import UserError

from .hash_encoder import HashEncoder
from .serving_fakes import FakeBackend, bearer, config_in, fake_app, served, text_document, until
from .test_app_asking import DOCUMENTS, ask, events_of, refusal

LIMITS = ApiConfig(requests_per_minute=0, grace_seconds=1, workers=3)


def new_index(folder: Path) -> Index:
    index = Index.create(config_in(folder).index, HashEncoder(), ChunkingConfig(size=32, overlap=0, minimum=4))
    ingestion.add_documents(index, [text_document("guides/pump.md", "The pump is cleaned with warm water.\n")])
    return index


def assistant_over(index: Index) -> Assistant:
    return Assistant.over(index, RetrievalConfig(k=3), GenerationConfig(refuse_below=0.0))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    config = config_in(tmp_path, LIMITS)
    with served(create_app(assistant_over(new_index(tmp_path)), config), LIMITS) as place:
        yield place


def put(url: str, name: str, text: str) -> Any:
    response = httpx.post(f"{url}/documents", files={"files": (name, text.encode())}, timeout=60)
    return response.json()["files"][0]


def asked(url: str, question: str, **fields: Any) -> Any:
    response = httpx.post(f"{url}/ask", json={"question": question, **fields}, timeout=60)
    assert response.status_code in (200, 409), response.text
    return response.json()


def test_an_upload_is_found_replaced_and_removed(url: str, tmp_path: Path) -> None:
    assert put(url, "boiler.txt", "The boiler holds ninety litres.\n")["source"] == "uploads/anonymous/boiler.txt"
    assert "ninety" in asked(url, "How many litres does the boiler hold?")["text"]
    put(url, "boiler.txt", "The boiler holds eighty litres.\n")
    answer = asked(url, "How many litres does the boiler hold?")
    assert "eighty" in answer["text"]
    assert "ninety" not in str(answer)
    assert put(url, "copy.txt", "The boiler holds eighty litres.\n") == {
        "name": "copy.txt", "source": None, "chunks": 0, "notes": [],
        "problem": "the same as uploads/anonymous/boiler.txt, which has the same groups",
    }  # fmt: skip
    removed = httpx.delete(f"{url}/documents/uploads/anonymous/boiler.txt", timeout=60).json()
    certificate = removed["certificate"]
    assert {name: certificate[name] for name in ("sources", "clean", "traces_left", "chunks")} == {
        "sources": ["uploads/anonymous/boiler.txt"], "clean": True, "traces_left": 0, "chunks": 1,
    }  # fmt: skip
    assert set(certificate) == {
        "sources", "content_hashes", "time", "chunks", "clean", "traces_left", "remarks", "kept_as",
    }  # fmt: skip
    assert (tmp_path / "index-certificates" / certificate["kept_as"]).is_file()
    assert "eighty" not in str(asked(url, "How many litres does the boiler hold?"))
    assert not any(b"eighty" in path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file())


def test_a_file_that_cannot_be_read_keeps_the_others_and_the_old_version(url: str) -> None:
    put(url, "boiler.txt", "The boiler holds ninety litres.\n")
    sent = {"boiler.txt": b"", "a.pdf": b"%PDF-1.7 broken", "b.md": b"# Boats\n\nBoats float well.\n"}
    files = [("files", one) for one in sent.items()]
    outcomes = httpx.post(f"{url}/documents", files=files, timeout=60).json()["files"]
    assert [(one["name"], one["source"]) for one in outcomes] == [
        ("boiler.txt", None), ("a.pdf", None), ("b.md", "uploads/anonymous/b.md"),
    ]  # fmt: skip
    assert outcomes[0]["problem"] == "boiler.txt: is empty (0 bytes)"
    assert outcomes[1]["problem"].startswith("a.pdf: ")
    assert not any("/" in one["problem"] for one in outcomes[:2])
    assert "ninety" in asked(url, "How many litres does the boiler hold?")["text"]


def test_readers_go_on_while_documents_come_and_go(url: str) -> None:
    stop = threading.Event()

    def read() -> int:
        n = 0
        while not stop.is_set():
            asked(url, "How many litres does the boiler hold?", stream=False)
            httpx.get(f"{url}/documents").raise_for_status()
            n += 1
        return n

    def write(name: str) -> None:
        for n in range(4):
            assert put(url, f"{name}.txt", f"The boiler {name} holds {n} litres.\n")["problem"] is None
        source = f"uploads/anonymous/{name}.txt"
        assert httpx.delete(f"{url}/documents/{source}", timeout=60).status_code == 200
        assert source not in str(asked(url, f"How many litres does the boiler {name} hold?"))

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, name) for name in ("left", "right")]
        for writer in writers:
            writer.result()
        stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert [one["source"] for one in httpx.get(f"{url}/documents").json()["documents"]] == ["guides/pump.md"]


def test_what_another_process_writes_is_taken_up(url: str, tmp_path: Path) -> None:
    other = Index.open(config_in(tmp_path).index, HashEncoder())
    ingestion.add_documents(other, [text_document("guides/boat.md", "Boats float well.\n")])
    ingestion.delete(other, ["guides/pump.md"])
    other.close()

    def sources() -> list[str]:
        return [one["source"] for one in httpx.get(f"{url}/documents").json()["documents"]]

    until(lambda: sources() == ["guides/boat.md"])
    assert "Boats float" in asked(url, "Do boats float well?")["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_document_that_goes_while_it_is_read(tmp_path: Path, stream: bool) -> None:
    backend = FakeBackend(DOCUMENTS)
    changed = "the documents changed while the answer was made: ask again"
    with served(fake_app(tmp_path, backend)) as url:
        answer = backend.answer

        def slow(*args: Any) -> Any:
            backend.answer = answer  # type: ignore[method-assign]
            made = answer(*args)
            assert httpx.delete(f"{url}/documents/hr/pay.txt", headers=bearer("root")).status_code == 200
            return made

        if stream:
            backend.stream = lambda *args: iter(["Here: "])  # type: ignore[method-assign]
        backend.answer = slow  # type: ignore[method-assign]
        response = ask(url, "pay rises", stream=stream)
        if stream:
            assert [name for name, _ in events_of(response)] == ["start", "token", "error"]
            assert events_of(response)[-1][1]["error"]["message"] == changed
        else:
            assert refusal(response) == (409, changed)
        assert "May" not in response.text


def test_a_real_start_and_stop(tmp_path: Path) -> None:
    index = new_index(tmp_path)
    index.close()
    script = tmp_path / "start.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import hash_encoder\n"
        "import rag_qa.assistant\n"
        "from rag_qa.cli import main\n"
        "rag_qa.assistant.build_encoder = lambda config: hash_encoder.HashEncoder()\n"
        "sys.exit(main(['serve', *sys.argv[1:]]))\n"
    )
    command = [sys.executable, str(script), "--index", str(tmp_path / "index"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        assert line.startswith(f"{tmp_path / 'index'} at http://127.0.0.1:"), line + server.stderr.read()
        assert line.endswith(" (no API keys; Ctrl-C stops it)\n")
        url = line.split(" at ")[1].split(" ")[0]
        assert "warm water" in asked(url, "How is the pump cleaned?")["text"]
        os.kill(server.pid, signal.SIGINT)
        assert server.stdout.read() == "stopped\n"
        assert server.wait(timeout=60) in (0, 130)
        assert "Traceback" not in server.stderr.read()


def test_what_is_refused_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^--port {port}: is taken"):
            serve.run(ServeConfig(index=tmp_path, port=port))
    monkeypatch.setattr("rag_qa.assistant.build_encoder", lambda config: HashEncoder())
    with pytest.raises(UserError, match="holds no index: make one with `rag-qa ingest"):
        serve.run(ServeConfig(index=tmp_path / "none", port=0))
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^--ui True: streamlit is not installed\."):
        serve.run(ServeConfig(index=tmp_path, ui=True))


def test_the_streamlit_page_is_started_and_stopped_with_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new_index(tmp_path).close()
    told: list[str] = []

    @contextmanager
    def launch(config: ServeConfig) -> Iterator[None]:
        told.append("started")
        yield
        told.append("stopped")

    class Server:
        def run(self, sockets: list[socket.socket]) -> None:
            told.append("served")

    monkeypatch.setattr("rag_qa.assistant.build_encoder", lambda config: HashEncoder())
    monkeypatch.setattr(serve.ui_launch, "launch", launch)
    monkeypatch.setattr(serve, "server_of", lambda *given: Server())
    serve.run(ServeConfig(index=config_in(tmp_path).index, port=0, ui=True))
    assert told == ["started", "served", "stopped"]
    assert capsys.readouterr().out.splitlines()[1] == "Streamlit page at http://127.0.0.1:8504"
