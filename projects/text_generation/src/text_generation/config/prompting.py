"""What is done with prompts: listed and filled in, compared, attacked."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from roadmap_shared.config import RunConfig, TrackingConfig
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig

DEFENCE_NAMES = (
    "none",
    "delimiting",
    "datamarking",
    "encoding",
    "hierarchy",
    "reminder",
    "detector",
    "output_check",
    "layered",
)


@dataclass(kw_only=True, frozen=True)
class PromptsConfig:
    """`prompts`: list the templates, show one, or fill one in."""

    action: Positional[Literal["list", "show", "render"]] = "list"
    """list: names and descriptions; show: the file of --template; render: its prompt with the given --values."""

    template: str | None = None
    """Name of a template, or the path of a .yaml file; for show and render."""

    values: tuple[str, ...] = ()
    """Values of the template's variables, each as NAME=VALUE: 'review=I liked it.'"""

    folders: tuple[Path, ...] = ()
    """Folders with further templates."""

    def __post_init__(self) -> None:
        if self.action != "list" and self.template is None:
            raise ValueError(f"{self.action} needs --template NAME; 'prompts list' lists the names")
        if self.action != "render" and self.values:
            raise ValueError(f"--values goes with render: leave it out with {self.action}")
        for text in self.values:
            if not text.partition("=")[1] or not text.partition("=")[0]:
                raise ValueError(f"--values {text}: write it as NAME=VALUE")


@dataclass(kw_only=True, frozen=True)
class ABConfig:
    """`ab`: compare templates on a case set."""

    templates: tuple[str, ...] = ("sentiment_zero_shot", "sentiment_few_shot")
    """Two templates or more, by name or path, the baseline first."""

    case_path: Path | None = None
    """JSONL file with `reference` and the templates' variables on each line. None: built-in reviews."""

    folders: tuple[Path, ...] = ()
    """Folders with further templates."""

    scorer: Literal["exact", "contains", "regex", "marked", "none"] = "contains"
    """How an answer is judged by its case's reference. exact: equal, but for case, blanks and quotes; contains: has it
    as whole words; regex: matches it; marked: what follows the last "Answer:" equals it; none: no answer is
    generated."""

    likelihood: bool = True
    """Take the log-likelihood of the reference answers, which most servers cannot tell."""

    log: Path | None = None
    """File that keeps all answers: a comparison that was interrupted goes on where it stopped. None: in the run
    folder."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(strategy="greedy"))
    run: RunConfig = field(default_factory=lambda: RunConfig(name="ab"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if len(self.templates) < 2:
            raise ValueError(f"--templates names {len(self.templates)}: a comparison needs two at least")
        if len(set(self.templates)) < len(self.templates):
            raise ValueError("--templates names one twice: compare different ones")
        if self.scorer == "none" and not self.likelihood:
            raise ValueError("--scorer none with --likelihood False leaves nothing to measure: choose one of them")


@dataclass(kw_only=True, frozen=True)
class InjectConfig:
    """`inject`: attack a model through small applications, and measure what defences do to attacks and to benign
    texts."""

    defences: tuple[str, ...] = DEFENCE_NAMES
    """Which defences are tried, in this order."""

    case_path: Path | None = None
    """JSONL file with attacks and benign texts. None: the built-in set."""

    log: Path | None = None
    """File that keeps all answers: a run that was interrupted goes on where it stopped. None: in the run folder."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(strategy="greedy", max_new_tokens=96))
    run: RunConfig = field(default_factory=lambda: RunConfig(name="inject"))
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if not self.defences:
            raise ValueError(f"--defences is empty: name some of {', '.join(DEFENCE_NAMES)}")
        for name in self.defences:
            if name not in DEFENCE_NAMES:
                raise ValueError(f"--defences {name}: unknown defence. Known: {', '.join(DEFENCE_NAMES)}")
            if self.defences.count(name) > 1:
                raise ValueError(f"--defences: '{name}' is named twice")
