"""How texts are rated by people, and how the votes are analysed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(kw_only=True, frozen=True)
class RateConfig:
    """`rate`: say which of two texts is better without knowing which system wrote which."""

    study: Positional[Path]
    """Study file (JSONL), which names no system. With --outputs it is made first, and its key beside it, as
    NAME.key.json: keep that from the raters."""

    outputs: Path | None = None
    """File of texts to compare, one a line: {"prompt": ..., "system": ..., "text": ...}."""

    question: str = "Which text is better?"
    """What raters are asked; goes with --outputs."""

    style: Literal["prose", "code"] = "prose"
    """code: texts in a typeface of fixed width; goes with --outputs."""

    max_items: int | None = None
    """Comparisons of the study at most, spread evenly over the pairs of systems; goes with --outputs. None: each
    prompt with each pair."""

    seed: int = 0
    """Decides which text stands first; goes with --outputs."""

    votes: Path | None = None
    """File that votes are appended to, of all raters. None: NAME.votes.jsonl beside the study."""

    rater: str = ""
    """Your name, under which you continue later. Empty: you are asked."""

    web: bool = False
    """Rate on a web page instead of in the terminal."""

    host: str = "127.0.0.1"
    """Address of the page. 127.0.0.1 answers this machine alone, 0.0.0.0 the whole network, such as phones: there is no
    password."""

    port: int = 7862
    """TCP port of the page; 0 takes a free one."""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("--question is empty: say what raters are to judge")
        if self.max_items is not None and self.max_items < 1:
            raise ValueError(f"--max_items {self.max_items} must be at least 1, or None for all")
        if self.outputs is None:
            for name, default in (("question", "Which text is better?"), ("style", "prose"), ("max_items", None)):
                if getattr(self, name) != default:
                    raise ValueError(f"--{name} goes with --outputs: a study that exists has its own")
        if not self.host:
            raise ValueError("--host is empty: give an address, such as 127.0.0.1")
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"--port {self.port} is outside 0 … 65535")
        if self.web and self.rater:
            raise ValueError("--rater is for the terminal: on the page, raters type their names")


@dataclass(kw_only=True, frozen=True)
class VotesConfig:
    """`votes`: who wins, how sure that is, whether the raters agree, and how many more votes would decide it."""

    study: Positional[Path]
    """Study file that the votes are about."""

    votes: tuple[Path, ...] = ()
    """Files of votes. Empty: NAME.votes.jsonl beside the study."""

    key: Path | None = None
    """File that says which system wrote what. None: NAME.key.json beside the study."""

    report: Path | None = None
    """HTML page to write, besides what is printed."""

    power: float = 0.8
    """Probability with which the votes that are still to come shall decide a pair."""

    n_resamples: int = 2000
    """Bootstrap draws of the intervals."""

    seed: int = 0
    """Of the bootstrap and of the simulated votes."""

    def __post_init__(self) -> None:
        if not 0 < self.power < 1:
            raise ValueError(f"--power {self.power} must lie between 0 and 1")
        if self.n_resamples < 100:
            raise ValueError(f"--n_resamples {self.n_resamples} must be at least 100")
