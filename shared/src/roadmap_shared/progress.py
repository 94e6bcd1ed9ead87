"""Progress of long work: a bar with rate and time left on a terminal, a plain line every ten seconds
elsewhere.

```python
for step in progress(2000, "training", "step") as bar: ...        # or any iterable
with progress(files, "reading", "file") as bar:
    for file in bar:
        bar.postfix(loss=1.234)
```
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, overload

from roadmap_shared.ranks import is_main_process

Item = TypeVar("Item")

_FIRST_LINE_AFTER = 1.0  # seconds
_SECONDS_BETWEEN_LINES = 10.0


@overload
def progress(work: int, description: str, unit: str, *, done: int = 0) -> Progress[int]: ...
@overload
def progress(work: Iterable[Item], description: str, unit: str, *, done: int = 0) -> Progress[Item]: ...
def progress(work: int | Iterable[Any], description: str, unit: str, *, done: int = 0) -> Progress[Any]:
    """Show how far a loop, or work that is counted by hand with `update`, has come. Writes to stderr, on rank
    0 only.

    Args:
        work: how many units there are, or the things to loop over. An iterable without a length shows no time
            left.
        description: what is being done, "training".
        unit: what is counted, in the singular: "step".
        done: units that an earlier run has done already. A count is looped over from there on, and an
            iterable holds what is left; the rate counts new units only.
    """
    if isinstance(work, int):
        return Progress(range(done, work), work, description, unit, done)
    total = len(work) + done if isinstance(work, Sized) else None
    return Progress(work, total, description, unit, done)


class Progress(Generic[Item]):
    """The loop that `progress` returns: iterate over it, or enter it and call `update`."""

    def __init__(self, items: Iterable[Item], total: int | None, description: str, unit: str, done: int) -> None:
        self._items = items
        self._display: _Display = _Silence()
        if is_main_process():
            on_terminal = sys.stderr.isatty()
            display = _terminal_bar if on_terminal else _PlainLines
            self._display = display(total=total, desc=description, unit=unit, initial=done)

    def __iter__(self) -> Iterator[Item]:
        with self:
            for item in self._items:
                yield item
                self.update()

    def __enter__(self) -> Progress[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, units: int = 1) -> None:
        """Count `units` more as done."""
        self._display.update(units)

    def postfix(self, **values: float | str) -> None:
        """Set what is shown behind the count: `postfix(loss=1.234)`."""
        shown = (
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
        )
        self._display.set_postfix_str(", ".join(shown), refresh=False)

    def close(self) -> None:
        """Show the final count. Harmless when called again."""
        self._display.close()


class _Display(Protocol):
    """The part of `tqdm.tqdm` that is used."""

    def update(self, n: int) -> Any: ...
    def set_postfix_str(self, s: str, refresh: bool) -> None: ...
    def close(self) -> None: ...


class _Silence:
    def update(self, n: int) -> None:
        """Show nothing."""

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


def _terminal_bar(total: int | None, desc: str, unit: str, initial: int) -> _Display:
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=desc,
        unit=f" {unit}",
        initial=initial,
        file=sys.stderr,
        dynamic_ncols=True,
        mininterval=0.2,
    )


class _PlainLines:
    """Prints `training: 120/2000 step (6%), 31 step/s, 1:01 left, loss=1.234` now and then."""

    def __init__(self, total: int | None, desc: str, unit: str, initial: int) -> None:
        self._total, self._description, self._unit = total, desc, unit
        self._initial = self._done = initial
        self._start = time.monotonic()
        self._next_line = self._start + _FIRST_LINE_AFTER
        self._postfix = ""
        self._printed: int | None = None
        self._closed = False

    def update(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            self._print(now)

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        self._postfix = s

    def close(self) -> None:
        if not self._closed and self._printed != self._done:
            self._print(time.monotonic())
        self._closed = True

    def _print(self, now: float) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = (self._done - self._initial) / seconds
        count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        parts = [f"{self._description}: {count} {self._unit}"]
        if self._total:
            parts[0] += f" ({100 * self._done // self._total}%)"
        parts.append(f"{rate:.3g} {self._unit}/s")
        if self._total is not None and self._done < self._total and rate > 0:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        else:
            parts.append(f"{_clock(seconds)} spent")
        if self._postfix:
            parts.append(self._postfix)
        print(", ".join(parts), file=sys.stderr, flush=True)
        self._printed = self._done


def _clock(seconds: float) -> str:
    """Return seconds as 0:05, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
