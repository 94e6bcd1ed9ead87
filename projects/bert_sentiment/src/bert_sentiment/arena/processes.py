"""A process of its own for the trainings of one method.

Its memory is then that of this method alone, and a method that takes more than there is ends its own process and not
the arena. `python -m bert_sentiment.arena.processes RUN_FOLDER METHOD` is what is started: config and results go
through the run folder.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

from bert_sentiment.config import ArenaConfig, MethodName
from roadmap_shared.config import load_config
from roadmap_shared.errors import UserError, one_line

_INTERRUPTED = 130
_USER_ERROR = 2


def train_in_process(folder: Path, method: MethodName) -> str | None:
    """Train a method's missing trials in a process of its own. Returns why it was killed, None where it ended.

    Ctrl-C is passed on: the process finishes its step and saves before KeyboardInterrupt is raised here.

    Raises:
        UserError: the process ended in one, which it has printed.
        RuntimeError: the process ended in a bug, whose traceback it has printed.
    """
    safe_path = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *safe_path, "-m", __name__, str(folder), method]
    # In a process group of its own, or a terminal would send it Ctrl-C as well: the second one ends at once.
    process = subprocess.Popen(command, process_group=0)
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGINT)
        except BaseException:
            process.kill()
            raise
    if interrupted or code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code == _USER_ERROR:
        raise UserError(f"the training of {method} ended with the message above")
    if code > 0:
        raise RuntimeError(f"the process that trains {method} ended with exit code {code}: see its traceback above")
    return None if code == 0 else killed_by(-code)


def killed_by(number: int) -> str:
    """What the table says of a method whose process was ended by a signal."""
    name = signal.Signals(number).name
    why = ": most likely the memory did not suffice" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{why}. A resumed arena tries it again"


def main(arguments: list[str]) -> int:
    """The process itself; returns its exit code."""
    folder, method = Path(arguments[0]), cast(MethodName, arguments[1])
    parent = os.getppid()
    try:
        from bert_sentiment.arena.training import FOLDER, MethodTraining
        from bert_sentiment.data.datasets import load_splits

        config = load_config(ArenaConfig, folder / "config.yaml")
        training = MethodTraining(
            config,
            method,
            load_splits(config.data),
            folder / FOLDER,
            fresh_process=True,
            # Whoever started it is gone, killed perhaps: nobody reads the results.
            go_on=lambda: os.getppid() == parent,
        )
        training.run()
    except UserError as error:
        print(f"bert-sentiment arena: {one_line(error)}", file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
