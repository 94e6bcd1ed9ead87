"""What the API lets a client do, and how much of it."""

from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class ApiConfig:
    """Limits of the API. They hold for everybody, admins included."""

    max_upload_bytes: int = 20_000_000
    """Bytes of one uploaded file at most."""

    max_upload_files: int = 20
    """Files in one upload at most."""

    max_body_bytes: int = 100_000_000
    """Bytes of a whole request at most: all files of an upload together."""

    max_question_characters: int = 2_000
    """Characters of a question or a comment at most."""

    max_results: int = 50
    """Passages that one search may ask for."""

    workers: int = 2
    """Questions that are worked on at a time. Each takes a thread; more than there are CPU cores only share them."""

    max_waiting: int = 32
    """Questions that wait for their turn. Further ones get status 503."""

    requests_per_minute: int = 120
    """Requests of one key, or of one address where there are no keys, in a minute in the long run; status 429 beyond.
    0: any number."""

    burst: int = 40
    """Requests that may come at once before --api.requests_per_minute counts."""

    max_connections: int = 256
    """Open connections at most. Further ones get status 503."""

    stall_seconds: float = 60.0
    """Seconds that a client may take to send its request, or to take the next part of its answer."""

    grace_seconds: int = 5
    """Seconds that answers under way have to end after Ctrl-C."""

    conversation_turns: int = 10
    """Turns of a conversation that are kept for questions that refer to them."""

    conversations_per_user: int = 100
    """Conversations of one user that are kept; the one longest unused goes first. They end with the server."""

    analytics_days: int = 90
    """Days after which a question is dropped from the usage analytics. 0: nothing is recorded at all."""

    record_questions: bool = True
    """Keep the words of questions and comments for the analytics. False: counts and times alone."""

    def __post_init__(self) -> None:
        at_least_one = (
            "max_upload_bytes", "max_upload_files", "max_question_characters", "max_results", "workers", "burst",
            "max_connections", "conversation_turns", "conversations_per_user",
        )  # fmt: skip
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"--api.{name} {getattr(self, name)} must be at least 1")
        for name in ("max_waiting", "requests_per_minute", "grace_seconds", "analytics_days"):
            if getattr(self, name) < 0:
                raise ValueError(f"--api.{name} {getattr(self, name)} must be at least 0")
        if not self.stall_seconds > 0:
            raise ValueError(f"--api.stall_seconds {self.stall_seconds} must be above 0")
        if self.max_body_bytes < self.max_upload_bytes:
            raise ValueError(
                f"--api.max_body_bytes {self.max_body_bytes} must be at least --api.max_upload_bytes "
                f"{self.max_upload_bytes}: such a file could never arrive"
            )
