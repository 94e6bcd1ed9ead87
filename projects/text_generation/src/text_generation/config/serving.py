"""How a model is served."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from text_generation.config.backend import BackendConfig


@dataclass(kw_only=True, frozen=True)
class ServingConfig:
    """`serve`: an OpenAI-compatible API and a chat page."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    """The model. --backend.batch_size is the number of answers at a time."""

    model_name: str | None = None
    """The model's name for clients. None: the last part of --backend.model."""

    host: str = "127.0.0.1"
    """Address to listen at. 127.0.0.1 answers this machine alone, 0.0.0.0 the whole network."""

    port: int = 8000
    """TCP port to listen at; 0 takes a free one."""

    api_key_env: str = "TEXT_GENERATION_API_KEY"
    """Environment variable with the key that clients must send. Unset: no key, unless there is --api_key_file."""

    api_key_file: Path | None = None
    """File with the key, which then counts and not the variable."""

    allow_public: bool = False
    """Listen on an address that other machines reach even without a key."""

    max_waiting: int = 64
    """Answers that wait for their turn. Further requests get status 429."""

    max_prompt_tokens: int = 8192
    """Tokens of a prompt at most; less where the model's context is smaller."""

    max_new_tokens: int = 1024
    """Tokens of an answer at most, whatever a client asks for."""

    default_new_tokens: int = 256
    """Tokens of a chat answer at most where the client names no number."""

    max_choices: int = 8
    """Answers that one request may ask for."""

    max_body_bytes: int = 1_048_576
    """Bytes of a request at most."""

    max_connections: int = 512
    """Open connections at most. Further ones get status 503."""

    stall_seconds: float = 60.0
    """Seconds that a client may take to send its request, or to take the next part of its answer."""

    requests_per_minute: int = 0
    """Requests and chats of one client address in a minute at most, wrong keys included; status 429
    beyond. 0: any number."""

    grace_seconds: int = 5
    """Seconds that answers under way have to end after Ctrl-C."""

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("--host is empty: give an address, such as 127.0.0.1")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"--port {self.port} is outside 0 … 65535")
        if self.model_name == "":
            raise ValueError("--model_name is empty: give a name, or leave it out")
        positive = ("max_prompt_tokens", "max_new_tokens", "default_new_tokens", "max_choices", "max_connections")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 1")
        for name in ("max_waiting", "requests_per_minute", "grace_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)} must be at least 0")
        if self.max_body_bytes < 1024:
            raise ValueError(f"--max_body_bytes {self.max_body_bytes} must be at least 1024")
        if not self.stall_seconds > 0:
            raise ValueError(f"--stall_seconds {self.stall_seconds} must be above 0")
        if self.default_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"--default_new_tokens {self.default_new_tokens} must be at most --max_new_tokens {self.max_new_tokens}"
            )
        if self.max_choices > self.backend.batch_size + self.max_waiting:
            raise ValueError(
                f"--max_choices {self.max_choices} must be at most --backend.batch_size {self.backend.batch_size} + "
                f"--max_waiting {self.max_waiting}: such a request could never be taken"
            )

    @property
    def is_local(self) -> bool:
        """Whether the address answers this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
