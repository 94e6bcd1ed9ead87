"""Where the server stands: warming, ready, draining."""

from dataclasses import dataclass


@dataclass
class ServerState:
    """Shared by the guard, the routes and whoever ends the server."""

    warm: bool = False
    draining: bool = False
    accepted: int = 0
    """Requests with texts that were let into a queue."""

    ended: int = 0
    """Of those, the ones that have their answer, or were told why they get none, or whose client left."""

    @property
    def name(self) -> str:
        """For /readyz."""
        return "draining" if self.draining else "ready" if self.warm else "warming"
