"""How speed and memory are measured, and the command that measures any folders side by side."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional


@dataclass(kw_only=True, frozen=True)
class BenchmarkConfig:
    """Speed and memory of variants, each in a process of its own, measured in turns."""

    batch_sizes: tuple[int, ...] = (1, 16)
    """Texts of one call; each size is measured by itself."""

    tokens: int = 128
    """Tokens of every text of the exact-length inputs, special tokens included and without padding; a model that sees
    fewer is measured at its own limit, and the result says so."""

    realistic: int = 16
    """Real texts that are measured besides, from text to logits, tokenisation and padding included; 0 leaves them
    out."""

    threads: int | None = None
    """Processor threads of a variant. None: OMP_NUM_THREADS, or all cores that the process may use."""

    seconds_per_variant: float = 6.0
    """Measuring time of a variant on average, warm-up included; loading comes on top. Rounds are left out once all
    variants together have used it up, but never so many that fewer than 3 are left."""

    rounds: int = 5
    """Blocks of each input and variant. A round measures one block of each, in turns, so that load hits all alike."""

    busy_share: float = 0.1
    """Share of the machine's processor time that other processes may take within a block; above it, the block is
    measured again. 1 switches this off."""

    patience_seconds: float = 20.0
    """Time for measuring noisy blocks again, in all. Once it is used up they are kept, and the result is marked."""

    timeout_seconds: float = 120.0
    """Time after which a variant that gives no answer is given up, and the others go on."""

    seed: int = 0
    """Seed of the order of the words in the exact-length inputs."""

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1 or len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise ValueError(f"--benchmark.batch_sizes {self.batch_sizes} must be different numbers from 1")
        if not 8 <= self.tokens <= 8192:
            raise ValueError(f"--benchmark.tokens {self.tokens} is outside 8 … 8192")
        if self.realistic < 0:
            raise ValueError(f"--benchmark.realistic {self.realistic} must not be negative")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"--benchmark.threads {self.threads} must be at least 1")
        if self.rounds < 3:
            raise ValueError(f"--benchmark.rounds {self.rounds} must be at least 3: fewer blocks have no spread")
        for name in ("seconds_per_variant", "timeout_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--benchmark.{name} {getattr(self, name):g} must be above 0")
        if not 0 < self.busy_share <= 1:
            raise ValueError(f"--benchmark.busy_share {self.busy_share:g} must be above 0 and at most 1")
        if self.patience_seconds < 0:
            raise ValueError(f"--benchmark.patience_seconds {self.patience_seconds:g} must not be negative")
        if self.seed < 0:
            raise ValueError(f"--benchmark.seed {self.seed} must not be negative")


@dataclass(kw_only=True, frozen=True)
class MeasureConfig:
    """`measure`: any folders side by side."""

    folders: Positional[tuple[Path, ...]] = ()
    """Folders of variants, or of sequence classifiers as transformers saves them. The first is what the others are
    compared with, unless --reference names it."""

    reference: Path | None = None
    """Folder that all are compared with; it is measured too. None: the first one."""

    texts: Path | None = None
    """Text file, one text a line, for the realistic inputs. None: the validation part of the built-in texts."""

    output: Path | None = None
    """Folder for measure.json, report.html and the figures as PNG. None writes nothing."""

    json: bool = False
    """Print JSON instead of the tables."""

    roofline: bool = True
    """Measure the machine's peaks, too, and say which speed-up they would allow."""

    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
