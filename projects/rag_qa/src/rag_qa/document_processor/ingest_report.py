"""What an ingestion did, or would do."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that is not indexed, and why, in one line."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A file with the bytes of another, which is the one that is indexed."""

    source: str
    same_as: str


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """Documents by what became of them; of a dry run, by what would."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Their content, or the groups that may see them."""

    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    """Gone from the ingested folder."""

    duplicates: tuple[Duplicate, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """(source, note) of what the readers remarked, such as pages without text."""

    chunks: int = 0
    """Chunks of added and changed documents."""

    embedded: int = 0
    """Of these, those that were encoded; the vectors of the others were there."""

    dry_run: bool = False

    def lines(self) -> list[str]:
        """The report for a terminal: counts first, then each file that is not simply indexed."""
        would = "would be " if self.dry_run else ""
        counts = {
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "duplicates": self.duplicates,
            "refused": self.refused,
        }
        summary = ", ".join(f"{len(sources)} {name}" for name, sources in counts.items())
        embedded = f", {self.embedded} of them embedded" if not self.dry_run else ""
        return [
            f"{'dry run: ' if self.dry_run else ''}{summary}; {self.chunks} chunks{embedded}",
            *(f"  {would}removed: {source}" for source in self.removed),
            *(f"  duplicate: {one.source} (same as {one.same_as})" for one in self.duplicates),
            *(f"  refused: {one.reason}" for one in self.refused),
            *(f"  note: {source}: {note}" for source, note in self.notes),
        ]
