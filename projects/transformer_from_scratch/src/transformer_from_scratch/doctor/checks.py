"""What an examination consists of: checks with measured numbers, and the bugs that they point to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from transformer_from_scratch.doctor.catalogue import BUGS
from transformer_from_scratch.doctor.loading import is_ours, where


class Status(Enum):
    """The result of one check. A NOTE is worth reading and no bug."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOTE = "note"
    SKIP = "n/a"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property that was tested."""

    name: str
    status: Status
    measured: str
    """What was measured, in numbers, or why the check does not apply."""

    bugs: tuple[str, ...] = ()
    """Keys of `BUGS` that would explain a failure, the likeliest first."""

    proven: bool = False
    """Whether the bugs are certain: a reference with exactly these bugs gives the target's numbers."""


def passed(name: str, measured: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name=name, status=Status.PASS, measured=measured)


def failed(name: str, measured: str, *bugs: str, proven: bool = False) -> Check:
    """A check that found something wrong."""
    return Check(name=name, status=Status.FAIL, measured=measured, bugs=bugs, proven=proven)


def noted(name: str, measured: str) -> Check:
    """A check whose result is worth knowing and no bug."""
    return Check(name=name, status=Status.NOTE, measured=measured)


def skipped(name: str, reason: str) -> Check:
    """A check that does not apply."""
    return Check(name=name, status=Status.SKIP, measured=reason)


@dataclass(kw_only=True)
class Examination:
    """Everything found out about one target."""

    target: str
    kind: str
    facts: list[str] = field(default_factory=list)
    """How the doctor understood the target: how it was built, called, masked."""

    checks: list[Check] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether no check failed."""
        return all(check.status is not Status.FAIL for check in self.checks)

    @property
    def bugs(self) -> list[str]:
        """Keys of the likely bugs, the certain ones first.

        What a reference has reproduced to rounding explains the symptoms that other checks see, so their guesses about
        the arithmetic of attention count only when there is no proof.
        """
        proven = unique(bug for check in self.checks if check.proven for bug in check.bugs)
        suspected = unique(bug for check in self.checks if not check.proven for bug in check.bugs)
        return unique([*proven, *(bug for bug in suspected if not (proven and BUGS[bug].is_arithmetic))])

    def symptoms(self, bug: str) -> list[str]:
        """What the checks that point to a bug measured."""
        return [f"{check.name}: {check.measured}" for check in self.checks if bug in check.bugs]


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """Run a check; where the learner's code fails on the check's input, the check does not apply, and says why."""
    try:
        return check()
    except Exception as error:
        if is_ours(error):
            raise
        return skipped(name, f"the code does not run for this check: {where(error)}")


def unique(names: Iterable[str]) -> list[str]:
    """The names without repetitions, in order."""
    return list(dict.fromkeys(names))
