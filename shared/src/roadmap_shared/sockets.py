"""Where a web server of a project listens."""

from __future__ import annotations

import errno
import socket

from roadmap_shared.errors import UserError


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections at once. Before a model is loaded: a port that is taken is known in no time.

    Raises:
        UserError: the port is taken or not allowed, or the address is not this machine's.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(256)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                problem = f"--port {port}: is taken. Choose another one, or 0 for any that is free"
            case errno.EACCES:
                problem = f"--port {port}: needs administrator's rights. Choose one above 1023"
            case _:
                problem = f"--host {host}: is no address of this machine ({error.strerror})"
        raise UserError(problem) from error
    return listener
