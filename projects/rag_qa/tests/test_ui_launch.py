"""The page's process comes up where it is told to, and never outlives the server."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rag_qa.app import ui_launch
from rag_qa.config import ServeConfig
from roadmap_shared.errors import UserError

pytest.importorskip("streamlit", reason="streamlit is not installed")

SERVE = """
import os, signal, sys
from rag_qa.app import ui_launch
from rag_qa.config import ServeConfig
ui_launch.command = lambda config: [sys.executable, "-c", "import time; time.sleep(60)"]
with ui_launch.launch(ServeConfig(ui_port=0)) as page:
    print(page.pid, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""


def test_a_taken_port_is_told_before_the_page_is_started() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught, ui_launch.launch(ServeConfig(ui_port=port)):
            raise AssertionError
    assert str(caught.value) == f"--ui_port {port}: is taken. Choose another one"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_page_ends_with_a_server_that_is_told_to_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SERVE], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
