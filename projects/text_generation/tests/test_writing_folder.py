"""The story in its folder: what somebody made of it is not written over."""

from pathlib import Path

from text_generation.writing.brief import Brief
from text_generation.writing.project import open_project

BRIEF = Brief(theme="a lost key", hero="Mira")


def finished(folder: Path, story: str) -> list[str]:
    """Finish a story; returns the names of all former versions."""
    with open_project(folder, BRIEF, lambda line: None) as project:
        assert project.finish(story, {"title": ""}) == folder / "story.md"
    assert (folder / "story.md").read_text("utf-8") == f"{story}\n"
    return sorted(path.name for path in (folder / "older").glob("*"))


def test_a_story_that_somebody_edited_is_kept_with_the_former_versions(tmp_path: Path) -> None:
    assert finished(tmp_path, "Mira found it.") == []
    assert finished(tmp_path, "Mira found it.") == []
    (tmp_path / "story.md").write_text("Mira found it at last.\r\n", "utf-8")
    assert finished(tmp_path, "Mira found it.") == ["story-01.md"]
    assert (tmp_path / "older" / "story-01.md").read_text("utf-8") == "Mira found it at last.\n"
    assert finished(tmp_path, "Mira wept.") == ["story-01.md", "story-02.md"]
    assert (tmp_path / "older" / "story-02.md").read_text("utf-8") == "Mira found it.\n"
