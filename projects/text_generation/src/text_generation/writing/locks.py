"""One process at a time: two that wrote the same story or conversation would mix them up."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from roadmap_shared.errors import UserError


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Within it, no other process holds the lock file, which is removed afterwards. A killed process holds no lock.

    Args:
        path: the lock file.
        busy: message where another process holds it.

    Raises:
        UserError: it does, or the file cannot be made.
    """
    descriptor = _open_locked(path, busy)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _open_locked(path: Path, busy: str) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"{path.parent}: cannot be written to ({error.strerror}). Choose another place.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held it may have removed the file between our two calls: then it locks nothing.
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(busy) from None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            raise UserError(f"{path}: cannot be locked ({error.strerror}). Choose another place.") from error
        os.close(descriptor)
