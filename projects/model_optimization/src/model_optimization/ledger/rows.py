"""The compression ledger: one row a variant, with what it saves and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_optimization.benchmarking.speed import LatencyRow, Speed
from model_optimization.config.run import ChoiceConfig
from model_optimization.ledger.quality import Quality
from model_optimization.variants import VariantInfo
from roadmap_shared.metrics import Interval


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One variant, measured."""

    info: VariantInfo
    summary: str
    size_mb: float
    """Weights on disk, in 10^6 bytes."""

    quality: Quality
    speed: Speed | None
    """None where it could not be measured, or costs what another row does, as a control does."""

    @property
    def name(self) -> str:
        """The variant's."""
        return self.info.name

    def latency(self, batch: int) -> LatencyRow | None:
        """Of one call with `batch` texts of exact length."""
        return None if self.speed is None else self.speed.latency.get(batch)

    def speedup(self, batch: int) -> Interval | None:
        """The original's time over this one's, at the same batch size."""
        row = self.latency(batch)
        return None if row is None else row.speedup


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All variants of a run, the original first."""

    rows: Sequence[LedgerRow]
    failures: Mapping[str, str]
    """Why a variant has no speed."""

    @property
    def original(self) -> LedgerRow:
        """The row that all others are compared with."""
        return self.rows[0]

    def row(self, name: str) -> LedgerRow | None:
        """A variant's row; None where it was not made."""
        return next((row for row in self.rows if row.name == name), None)

    def choose(self, limits: ChoiceConfig, batch: int) -> LedgerRow:
        """The variant to serve: the fastest at this batch size that keeps to the limits, else the original."""
        return self._fastest([row for row in self.rows if within(row, limits)], batch)

    def fastest(self, batch: int, *, keeps: float) -> LedgerRow:
        """The fastest variant that keeps at least this share of the original's accuracy."""
        least = keeps * self.original.quality.accuracy.estimate
        return self._fastest([row for row in self.rows if row.quality.accuracy.estimate >= least], batch)

    def _fastest(self, rows: Sequence[LedgerRow], batch: int) -> LedgerRow:
        """Of equally fast ones the first; the original where none was measured."""
        speeds = {row.name: speed.estimate for row in rows if (speed := row.speedup(batch)) is not None}
        return max((row for row in rows if row.name in speeds), key=lambda row: speeds[row.name], default=self.original)


def within(row: LedgerRow, limits: ChoiceConfig) -> bool:
    """Whether a variant may be served in place of the original."""
    quality = row.quality
    if quality.flips is None or quality.against_original is None:  # the original itself
        return True
    loss = -quality.against_original.difference
    # Shares of the same texts, but computed in another order: equal ones may differ in the last bit.
    return quality.flips.share.estimate <= limits.max_flips and loss <= limits.max_accuracy_loss + 1e-9
