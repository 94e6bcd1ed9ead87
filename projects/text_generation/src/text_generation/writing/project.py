"""A story's folder: every step as Markdown to read and edit, and as JSON that says what it came from.

```
story/
  brief.json                        what was asked
  outline.md  draft.md  critique.md  revision.md
  outline.json …                    the input's hash, the model's own answers, and the text as it was written
  story.md  story.json              the story, and which demands it meets
  older/                            former versions
```

A finished step is not asked again while its input (prompts, settings, seed, model) is the same. When the input changes,
because the brief or a step before it did, it is asked again, and the former text goes to `older/`. A text that somebody
has edited, or written before its step was reached, stays, and what follows is written for it; to have the step asked
again, remove its .md file.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from text_generation.backends.types import Prompt
from text_generation.writing.brief import Brief
from text_generation.writing.locks import locked
from text_generation.writing.steps import Request, Step

BRIEF = "brief.json"
OLDER = "older"
STORY = "story"


@contextmanager
def open_project(folder: Path, brief: Brief, say: Callable[[str], None]) -> Iterator["WritingProject"]:
    """Open a story's folder, or make one.

    Raises:
        UserError: the folder holds a story about another theme or hero, another process writes there, or it cannot be
            used.
    """
    with locked(folder / ".lock", f"{folder}: another process writes there. Wait for it, or choose another --folder."):
        project = WritingProject(folder, say)
        project.begin(brief)
        yield project


def stored_brief(folder: Path) -> dict[str, Any] | None:
    """What the story in a folder is asked to be; None where there is none.

    Raises:
        UserError: the file cannot be read, or is damaged.
    """
    path = folder / BRIEF
    if not path.exists():
        return None
    found = _json(path)
    if found is None or not isinstance(found.get("theme"), str) or not isinstance(found.get("hero"), str):
        raise UserError(
            f"{path}: is damaged. Remove it and say the theme and hero again: the steps beside it are kept."
        )
    return found


def fingerprint(request: Request | str, model: str, seed: int) -> str:
    """Hash of all that decides a step's answer, or of its text where no model is asked."""
    if isinstance(request, str):
        content: Any = {"text": request}
    else:
        prompts = [_plain(prompt) for prompt in request.prompts]
        content = {"model": model, "prompts": prompts, "decoding": asdict(request.decoding), "seed": seed}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class WritingProject:
    """The steps of one story on the disk. Open it with `open_project`."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self._say = folder, say

    def begin(self, brief: Brief) -> None:
        """Write down what is asked. Errors: see `open_project`."""
        stored = stored_brief(self.folder)
        if stored is not None and (stored["theme"], stored["hero"]) != (brief.theme, brief.hero):
            raise UserError(
                f"{self.folder}: holds a story about '{stored['theme']}' with the hero {stored['hero']}, not about "
                f"'{brief.theme}' with {brief.hero}. Choose another --folder for it."
            )
        if stored != brief.record():
            self._write(BRIEF, _dumped(brief.record()))

    def kept(self, step: Step, input_hash: str) -> str | None:
        """The text of a finished step, or the one that somebody put into its place; None where it is to be asked."""
        record, written = self._record(step), self._markdown(step)
        if record is not None and written not in (None, record["text"]) and record.get("replaces") == _hash(written):
            self._replace(step, record["text"])  # the process ended between the two files
            written = record["text"]
        if written is not None and (record is None or written != record["text"]):
            self._say(f"{step}: kept as {self._path(step, 'md')} has it")
            return written
        if record is None or record["input"] != input_hash:
            return None
        if written is None:
            self._replace(step, record["text"])
        self._say(f"{step}: kept")
        return record["text"]

    def keep(self, step: Step, input_hash: str, text: str, answers: Sequence[str] = ()) -> None:
        """Write a finished step. When this returns it is on the disk.

        Raises:
            UserError: it cannot be written.
        """
        former = self._markdown(step)
        record = {
            "step": step,
            "input": input_hash,
            "replaces": _hash(former),
            "text": text,
            "answers": list(answers),
        }
        self._write(f"{step}.json", _dumped(record))
        self._replace(step, text)
        self._path(step, "unfinished.md").unlink(missing_ok=True)

    def keep_unfinished(self, step: Step, text: str) -> None:
        """Keep what there is of an answer that broke off, for a person to use."""
        if text.strip():
            path = self._write(f"{step}.unfinished.md", f"{text.strip()}\n")
            self._say(f"{step}: broke off; what came of it is in {path}")

    def finish(self, story: str, about: Mapping[str, Any]) -> Path:
        """Write the story and what is known of it; returns the story's path. A story that stood there goes to `older/`:
        somebody may have edited it."""
        self._write("story.json", _dumped(dict(about)))
        self._replace(STORY, story)
        return self._path(STORY, "md")

    def _replace(self, name: str, text: str) -> None:
        """Write the Markdown of a step or of the story; what it held goes to `older/`."""
        former = self._markdown(name)
        if former == text:
            return
        if former is not None:
            taken = {path.name for path in (self.folder / OLDER).glob("*.md")}
            number = next(n for n in range(1, len(taken) + 2) if f"{name}-{n:02}.md" not in taken)
            self._write(f"{OLDER}/{name}-{number:02}.md", f"{former}\n")
        self._write(f"{name}.md", f"{text}\n")

    def _record(self, step: Step) -> dict[str, Any] | None:
        path = self._path(step, "json")
        if not path.exists():
            return None
        record = _json(path)
        if record is not None and all(isinstance(record.get(name), str) for name in ("input", "text")):
            return record
        aside = path.with_name(f"{path.name}.bak")
        path.replace(aside)
        self._say(f"{path}: is damaged and set aside as {aside.name}")
        return None

    def _markdown(self, name: str) -> str | None:
        path = self._path(name, "md")
        try:
            text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").strip()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as UTF-8 text. Save it as UTF-8, or remove it.") from error
        return text or None

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}.{ending}"

    def _write(self, name: str, content: str) -> Path:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}). Free some space, or choose another --folder."
            ) from error
        return path


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where it holds something else."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return found if isinstance(found, dict) else None


def _dumped(value: Any) -> str:
    # Half of a surrogate pair, as a server may send it, has no UTF-8 form.
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _hash(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(prompt: Prompt) -> Any:
    return prompt if isinstance(prompt, str) else [[message.role, message.content] for message in prompt]
