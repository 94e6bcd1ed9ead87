"""`text-generation write` and `text-generation chat`."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.report import Report, render
from text_generation.config.writing import ChatConfig, WriteConfig
from text_generation.creative_writing_assistant import CreativeWritingAssistant, Story
from text_generation.terminal_text import harmless, told
from text_generation.text_generator import TextGenerator, open_generator
from text_generation.writing.brief import make_brief, read_briefs
from text_generation.writing.history import History
from text_generation.writing.locks import locked
from text_generation.writing.project import open_project, stored_brief
from text_generation.writing.rates import AssistantRates, lines, rates_of, writing_section
from text_generation.writing.session import ChatSession
from text_generation.writing.terminal import ChatTerminal, read_line_of

CHATS = Path("runs") / "text_generation" / "chats"


class Screen:
    """A terminal that shows answers as they come, and knows what it has shown."""

    def __init__(self) -> None:
        self.shown = ""

    def show(self, piece: str) -> None:
        """Write a piece."""
        self.shown += piece
        print(harmless(piece), end="", flush=True)


def run_write(config: WriteConfig) -> None:
    """Write a story, or those of a file of briefs. On a terminal, answers are shown as they come.

    Raises:
        UserError: something is missing or contradicts the folder, or the model does not answer usably.
    """
    if config.briefs is not None:
        _write_briefs(config, config.briefs)
        return
    given = {
        name: getattr(config, name)
        for name in ("theme", "hero", "pronoun", "cast", "mood", "ending", "min_words", "max_words")
    }
    brief = make_brief(given, config.style, stored_brief(config.folder))
    screen = Screen() if sys.stdout.isatty() else None
    with open_project(config.folder, brief, _note) as project, open_generator(config.backend) as generator:
        story = _assistant(config, generator, screen).write(brief, config.seed, project)
    if screen is None:
        print(story.text)
    elif story.text not in screen.shown:
        print(harmless(story.text))
    _note(f"{config.folder / 'story.md'}: the {story.chosen}, {_verdict(story)}")


def run_chat(config: ChatConfig) -> None:
    """Hold a conversation: with a person at a terminal, or with the lines of a pipe.

    Raises:
        UserError: the history cannot be used, or, without a person, a turn cannot be answered.
    """
    path = config.history or CHATS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"
    interactive = sys.stdin.isatty()
    if interactive:
        with suppress(ImportError):
            import readline  # noqa: F401  # gives input() its line editing
    elif hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    busy = f"{path}: another session writes there. End it, or choose another --history."
    with locked(path.with_name(f".{path.name}.lock"), busy), open_generator(config.backend) as generator:
        history = History(path)
        session = ChatSession(generator, history, config.decoding, config.seed)
        for line in (*history.repairs, *_greeting(session, interactive)):
            _note(line)
        if config.system is not None:
            session.set_system(config.system)
        ChatTerminal(
            session,
            read_line_of(sys.stdin),
            sys.stdout,
            sys.stderr,
            interactive=interactive,
            on_terminal=sys.stdout.isatty(),
        ).run()
    if interactive and path.exists():
        _note(f"go on with --history {path}")


def _write_briefs(config: WriteConfig, path: Path) -> None:
    briefs, rejects = read_briefs(path, config.style)
    for line in told(rejects):
        _note(line)
    stories: list[Story] = []
    baselines: list[str] = []
    with open_generator(config.backend) as generator:
        assistant = _assistant(config, generator)
        for number, brief in enumerate(briefs, start=1):
            folder = config.folder / f"{number:03}"
            with open_project(folder, brief, _prefixed(folder)) as project:
                stories.append(assistant.write(brief, config.seed, project))
                baselines.append(assistant.baseline(brief, config.seed, project))
            _note(f"{folder}: {_verdict(stories[-1])}")
        measured = rates_of(assistant, stories, baselines)
    print("\n".join(lines(measured)))
    _write_report(config, generator.name, measured)


def _write_report(config: WriteConfig, model: str, measured: AssistantRates) -> None:
    report = Report(
        title="Stories with and without the assistant",
        project="text_generation",
        command=f"text-generation write --briefs {config.briefs} --folder {config.folder}",
        sections=[writing_section(measured)],
        facts={"model": model, "stories": len(measured.stories), "seed": config.seed},
    )
    page = config.folder / "report.html"
    try:
        atomic_write(page, render(report))
    except OSError as error:
        raise UserError(f"{page}: cannot be written ({error.strerror})") from error
    _note(f"report: {page}")


def _assistant(config: WriteConfig, generator: TextGenerator, screen: Screen | None = None) -> CreativeWritingAssistant:
    return CreativeWritingAssistant(
        generator,
        style=config.style,
        decoding=config.decoding,
        samples=config.n_samples,
        attempts=config.attempts,
        templates=config.templates,
        say=_note,
        stream=screen.show if screen is not None else None,
    )


def _greeting(session: ChatSession, interactive: bool) -> list[str]:
    history = session.history
    known = f"going on with {history.path}, {len(history.turns)} turns" if history.turns else ""
    unanswered = "the last turn has no answer: /retry asks for it" if history.turns and session.unanswered else ""
    hello = f"{session.name}. /help lists the commands." if interactive else ""
    return [line for line in (hello, known, unanswered) if line]


def _verdict(story: Story) -> str:
    missed = "; ".join(story.check.reasons.values())
    return f"{story.check.n_words} words, " + (f"misses: {missed}" if missed else "meets every demand")


def _note(line: str) -> None:
    print(harmless(line), file=sys.stderr, flush=True)


def _prefixed(folder: Path) -> Callable[[str], None]:
    return lambda line: _note(f"{folder}: {line}")
