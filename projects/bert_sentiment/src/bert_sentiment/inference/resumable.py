"""A result in two files (labelled records and rejects) that a killed process leaves fit to be continued.

Both grow under the name `NAME.part`. After each chunk they are forced to the disk, and then `NAME.state.json` says how
long they are and which records they cover. Whatever lies behind that length when a process starts again was written by
one that was killed, and is cut off. At the end they get their own names, and the state is removed.
"""

import errno
import fcntl
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write, sync_folder

Say = Callable[[str], None]


@dataclass
class Done:
    """How far the work has come: records read, bytes in each of the two files, records with each label."""

    rows: int = 0
    output_bytes: int = 0
    rejects_bytes: int = 0
    rejected: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class ResumableOutput:
    """The two files while they grow. Open it with `resumable_output`."""

    def __init__(self, output: Path, rejects: Path, settings: Mapping[str, Any]) -> None:
        self.output, self.rejects = output, rejects
        self.done = Done()
        self._settings = dict(settings)
        self._state = output.with_name(f"{output.name}.state.json")
        self._part = output.with_name(f"{output.name}.part")
        self._rejects_part = rejects.with_name(f"{rejects.name}.part")
        self._output_file: BinaryIO
        self._rejects_file: BinaryIO

    def open(self, header: str, restart: bool, say: Say) -> None:
        """Continue what is there if it was made with the same settings, or start with the header."""
        with self._writing():
            # "ab" creates a file and cuts nothing: the lock comes first.
            self._output_file = self._part.open("ab")
            _lock(self._output_file, self.output)
            self._rejects_file = self._rejects_part.open("ab")
        found, problem = self._read_state()
        if restart or found is None:
            if problem and not restart:
                say(f"{self.output}: {problem}: starting from the beginning")
            self._cut(Done())
            self.append(header, "", Done())
            return
        self._cut(found)
        if found.rows:
            say(f"{self.output}: continuing an interrupted run behind record {found.rows}")

    def append(self, labelled: str, rejected: str, new: Done) -> None:
        """Write what a chunk has given. `new` counts its records; its bytes are counted here."""
        with self._writing():
            for file, text in ((self._output_file, labelled), (self._rejects_file, rejected)):
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            self.done.rows += new.rows
            self.done.rejected += new.rejected
            self.done.counts += new.counts
            self.done.output_bytes = self._output_file.tell()
            self.done.rejects_bytes = self._rejects_file.tell()
            state = {"settings": self._settings, "done": vars(self.done)}
            atomic_write(self._state, json.dumps(state, indent=2) + "\n")

    def publish(self) -> None:
        """Give the files their own names; rejects of an earlier run go where there are none."""
        with self._writing():
            if self.done.rejected:
                os.replace(self._rejects_part, self.rejects)
            else:
                self._rejects_part.unlink()
                self.rejects.unlink(missing_ok=True)
            os.replace(self._part, self.output)
            sync_folder(self.output.parent)
            self._state.unlink()

    def close(self) -> None:
        for name in ("_output_file", "_rejects_file"):
            # Closing writes what is left in the buffer, which fails again where the disk is full; it is cut off later.
            with suppress(OSError):
                if hasattr(self, name):
                    getattr(self, name).close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(_cannot_write(self.output, error)) from error

    def _read_state(self) -> tuple[Done | None, str]:
        """What an interrupted run has left, or why it cannot be used; neither where there was none."""
        if not self._state.exists():
            return None, ""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            done = Done(**state["done"])
            done.counts = Counter(done.counts)
            before = dict(state["settings"])
        except (OSError, ValueError, TypeError, KeyError):
            return None, f"{self._state.name} is damaged"
        names = self._settings.keys() | before.keys()
        changed = sorted(name for name in names if self._settings.get(name) != before.get(name))
        if changed:
            return None, f"{' and '.join(changed)} changed since the interrupted run"
        sizes = (self._part.stat().st_size, self._rejects_part.stat().st_size)
        if sizes[0] < done.output_bytes or sizes[1] < done.rejects_bytes:
            return None, "the interrupted run's files are shorter than they were"
        return done, ""

    def _cut(self, done: Done) -> None:
        self._output_file.truncate(done.output_bytes)
        self._rejects_file.truncate(done.rejects_bytes)
        self._output_file.seek(0, os.SEEK_END)
        self._rejects_file.seek(0, os.SEEK_END)
        self.done = done


@contextmanager
def resumable_output(
    output: Path, rejects: Path, settings: Mapping[str, Any], header: str, *, restart: bool, say: Say
) -> Iterator[ResumableOutput]:
    """Open the two files, continue or begin them, and close them come what may.

    Args:
        output: final name of the labelled file, which begins with `header`.
        rejects: final name of the rejects, in the same folder.
        settings: whatever the result depends on, as JSON values; another value of one starts from the beginning.
        restart: start from the beginning in any case.
        say: takes one line for the user.

    Raises:
        UserError: the files cannot be written, or another process is writing them.
    """
    files = ResumableOutput(output, rejects, settings)
    try:
        files.open(header, restart, say)
        yield files
    finally:
        files.close()


def _lock(file: BinaryIO, output: Path) -> None:
    """The lock ends with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{output}: another process is writing it: wait for it, or choose another --output") from error


def _cannot_write(output: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "Free some space and repeat the command: it continues where it stopped"
    else:
        remedy = "Write elsewhere with --output FILE"
    return f"{output}: cannot be written ({error.strerror}). {remedy}"
