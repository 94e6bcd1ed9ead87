"""How an index is served."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from rag_qa.config.api import ApiConfig
from rag_qa.config.encoder import EncoderConfig
from rag_qa.config.generation import GenerationConfig
from rag_qa.config.reading import ReadOptions
from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.config.store import StoreConfig
from rag_qa.run_layout import DEFAULT_INDEX


@dataclass(kw_only=True, frozen=True)
class ServeConfig:
    """`serve`: an API and a web page for one index."""

    index: Path = DEFAULT_INDEX
    """Folder of the index. Where there is no such folder as the default one, the newest run's. Uploads are kept in its
    folder `uploads`."""

    host: str = "127.0.0.1"
    """Address to listen at. 127.0.0.1 answers this machine alone, 0.0.0.0 the whole network."""

    port: int = 8004
    """TCP port to listen at; 0 takes a free one."""

    keys: Path | None = None
    """YAML or JSON file that maps the sha256 of each API key to its user, groups and rights, as
    `python -m rag_qa.app.keys NAME GROUP ...` writes it. None: everybody is `anonymous`."""

    groups: tuple[str, ...] = ()
    """Groups of `anonymous`, besides `public`, where there is no --keys."""

    allow_public: bool = False
    """Listen on an address that other machines reach even without --keys. Nobody is an admin then."""

    ui: bool = False
    """Start the Streamlit page, too. It needs the extra `ui`, and knows no --keys."""

    ui_port: int = 8504
    """TCP port of the Streamlit page."""

    analytics: Path | None = None
    """SQLite file of the usage analytics. None: `INDEX-analytics.sqlite` beside the index."""

    api: ApiConfig = field(default_factory=ApiConfig)
    reading: ReadOptions = field(default_factory=ReadOptions)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("--host is empty: give an address, such as 127.0.0.1")
        for name in ("port", "ui_port"):
            if not 0 <= getattr(self, name) <= 65_535:
                raise ValueError(f"--{name} {getattr(self, name)} is outside 0 … 65535")
        if self.ui and not self.ui_port:
            raise ValueError("--ui_port 0: the page needs a port that is known beforehand")
        if self.ui and self.ui_port == self.port:
            raise ValueError(f"--ui_port {self.ui_port} is the API's --port: choose another one")
        if self.ui and self.keys is not None:
            raise ValueError("--ui True: the Streamlit page knows no users, so it cannot be opened beside --keys")
        if self.groups and self.keys is not None:
            raise ValueError("--groups counts without --keys alone: the file of keys says the groups of each user")
        if not all(self.groups):
            raise ValueError("--groups has an empty name")

    @property
    def is_local(self) -> bool:
        """Whether the address answers this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def uploads(self) -> Path:
        """Folder of the files that were uploaded."""
        return self.index / "uploads"

    @property
    def certificates(self) -> Path:
        """Folder of the certificates of deletion."""
        return self.index.parent / f"{self.index.name}-certificates"

    @property
    def analytics_path(self) -> Path:
        """File of the usage analytics."""
        return self.analytics or self.index.parent / f"{self.index.name}-analytics.sqlite"
