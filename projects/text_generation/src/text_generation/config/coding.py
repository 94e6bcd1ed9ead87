"""How code is generated, executed and scored."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from roadmap_shared.config import RunConfig, TrackingConfig
from text_generation.config.backend import BackendConfig
from text_generation.config.decoding import DecodingConfig

CodeStyle = Literal["chat", "completion"]
CODE_DECODING = DecodingConfig(
    strategy="sampling", temperature=0.2, top_p=0.95, max_new_tokens=None, default_new_tokens=512
)
"""As is usual for pass@1 from samples (Chen et al. 2021, section 3.2); 512 tokens, or what the context has room for."""


@dataclass(kw_only=True, frozen=True)
class SandboxConfig:
    """Limits of a program that nobody trusts."""

    cpu_seconds: float = 5.0
    """CPU time; what else the machine does makes no difference to it."""

    wall_seconds: float = 120.0
    """Wall-clock time, for a program that sleeps: generous, since a busy machine uses it up."""

    memory_mb: int = 512
    """Address space, in MB (10^6 bytes)."""

    disk_mb: int = 16
    """Its temporary folder, in MB, and each file in it."""

    open_files: int = 64
    """Files open at once."""

    threads: int = 0
    """0: none besides the first; more: any number that the address space has room for. It can never start a
    process."""

    output_kb: int = 1000
    """Standard output and error together, in kB; more ends the program."""

    allow_weak: bool = False
    """Run it even where the system cannot shut off the network, files or other processes."""

    def __post_init__(self) -> None:
        for name in ("cpu_seconds", "wall_seconds", "memory_mb", "disk_mb", "open_files", "output_kb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--sandbox.{name} {getattr(self, name)} must be above 0")
        if self.threads < 0:
            raise ValueError(f"--sandbox.threads {self.threads} must be at least 0")
        if self.wall_seconds < self.cpu_seconds:
            raise ValueError(
                f"--sandbox.wall_seconds {self.wall_seconds} must not be below --sandbox.cpu_seconds {self.cpu_seconds}"
            )
        if self.open_files < 16:
            raise ValueError(f"--sandbox.open_files {self.open_files} must be at least 16, for imports")


@dataclass(kw_only=True, frozen=True)
class ProblemsConfig:
    """Which problems are to be solved."""

    path: Path | None = None
    """HumanEval- or MBPP-format file: .jsonl, .jsonl.gz or .json. None: the 22 problems of this package."""

    limit: int | None = None
    """The first so many problems. None: all."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--data.limit {self.limit} must be at least 1, or None for all problems")


@dataclass(kw_only=True, frozen=True)
class PassAtKConfig:
    """`pass-at-k`: the share of programming problems that a model solves."""

    run: RunConfig = field(default_factory=lambda: RunConfig(name="pass-at-k"))
    """Folder, seed and resumption."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Trackers."""

    data: ProblemsConfig = field(default_factory=ProblemsConfig)
    """Problems."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    """Model."""

    decoding: DecodingConfig = CODE_DECODING
    """How it answers."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    """Limits of what it writes."""

    style: CodeStyle = "completion"
    """completion: a base model goes on with the function's text; chat: an instruct model is asked."""

    samples: int = 1
    """Answers to each problem."""

    k: tuple[int, ...] = (1,)
    """Each pass@k to report; at most samples."""

    workers: int = 2
    """Programs executed at the same time. Each has a core of its own for its tests."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"--samples {self.samples} must be at least 1")
        if not self.k or min(self.k) < 1 or max(self.k) > self.samples:
            raise ValueError(f"--k {' '.join(map(str, self.k))} must lie between 1 and --samples {self.samples}")
        if self.workers < 1:
            raise ValueError(f"--workers {self.workers} must be at least 1")
        if self.samples > 1 and self.decoding.strategy != "sampling":
            raise ValueError(f"--samples {self.samples} answers differ with --decoding.strategy sampling only")


@dataclass(kw_only=True, frozen=True)
class CodeConfig:
    """`code`: write, explain, review or test a Python function."""

    description: Positional[str] = ""
    """What the function does, in quotes; or, with --file, nothing."""

    file: Path | None = None
    """Python file to explain, review or test; with `generate`, text that ends with a docstring to go on from."""

    task: Literal["generate", "explain", "review", "tests", "check"] = "generate"
    """generate: a function; explain: prose; review: facts by ast, ruff, bandit and radon; tests: assertions, run in the
    sandbox before they are shown; check: which of the sandbox's layers hold on this machine."""

    name: str | None = None
    """What the function is called. None: as the model likes."""

    prose: bool = False
    """A review has the model's opinion after the facts."""

    n_tests: int = 5
    """Tests to write."""

    style: CodeStyle = "chat"
    """chat: an instruct model is asked; completion: a base model goes on with the function's text."""

    seed: int = 0
    """Of the sampling."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    """Model."""

    decoding: DecodingConfig = CODE_DECODING
    """How it answers."""

    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    """Limits of what is executed."""

    def __post_init__(self) -> None:
        if self.name is not None and not self.name.isidentifier():
            raise ValueError(f"--name {self.name!r} is no Python name")
        if self.n_tests < 1:
            raise ValueError(f"--n_tests {self.n_tests} must be at least 1")
        if self.task in ("explain", "review", "tests") and self.file is None:
            raise ValueError(f"--task {self.task} needs --file code.py")
        if self.task == "generate" and not self.description.strip() and self.file is None:
            raise ValueError('say what the function does, as in: code "the median of a list of numbers"')
