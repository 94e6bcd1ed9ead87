"""One writer at a time for an index's folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from roadmap_shared.errors import UserError

LOCK_NAME = "lock"
_LOCKED_BYTE = 1 << 30
"""Where Windows, which locks bytes and lets nobody read them, puts its lock: far behind the holder's name."""


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock file. The system releases it when the process ends, however it ends.

    Raises:
        UserError: another process (or another thread of this one) is writing.
    """
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        try:
            _lock(descriptor)
        except (BlockingIOError, PermissionError):
            os.lseek(descriptor, 0, os.SEEK_SET)
            holder = os.read(descriptor, 1000).decode(errors="replace").strip() or "another process"
            raise UserError(f"{folder}: is being written by {holder}: wait for it to end, then repeat") from None
        except OSError as error:  # some network folders know no locks
            raise UserError(f"{folder}: cannot be locked ({error.strerror}): keep the index on a local disk") from None
        # Not the whole command line: it may hold a password.
        command = " ".join([Path(sys.argv[0]).name, *(word for word in sys.argv[1:2] if word.isalpha())])
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} ({command}, since {datetime.now():%H:%M:%S})".encode())
        yield
    finally:
        os.close(descriptor)


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(descriptor: int) -> None:
        """Raises PermissionError: it is held."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Raises BlockingIOError: it is held."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
