"""Where an answer ends: the first of its stop sequences, which is never shown, not even in part."""

from collections.abc import Sequence


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return the text before its first stop sequence, and whether one was found.

    The first is the one that is complete first, as it is for a model that writes the text sign by sign; of two that are
    complete together, the longer.
    """
    ends = [(place + len(sequence), place) for sequence in stop if (place := text.find(sequence)) >= 0]
    return (text[: min(ends)[1]], True) if ends else (text, False)


class StopScanner:
    """Lets a text through piece by piece, but nothing that is, or may become, a stop sequence.

    The text that has been let through by the end equals `cut_at_stop` of the whole, however it was cut
    into pieces.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """Take the next piece; return what can be shown."""
        if self.stopped:
            return ""
        self._held, self.stopped = cut_at_stop(self._held + piece, self._stop)
        keep = 0 if self.stopped else self._undecided()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return what was held back, when no more pieces come."""
        shown, self._held = self._held, ""
        return "" if self.stopped else shown

    def _undecided(self) -> int:
        """Return how many characters at the end of the held text may be the start of a stop sequence."""
        longest = max((len(sequence) - 1 for sequence in self._stop), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(sequence.startswith(self._held[-length:]) for sequence in self._stop):
                return length
        return 0
