"""A chat session in the terminal or in a pipe: what is typed, what is shown."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from roadmap_shared.errors import UserError, did_you_mean
from text_generation.terminal_text import harmless
from text_generation.writing.saving import save_conversation
from text_generation.writing.session import ChatSession

HELP = '''/help          this list
/undo          take back your last turn and its answer
/retry         another answer to your last turn
/system TEXT   set the system prompt; /system alone shows it, /system - removes it
/save [FILE]   write the conversation as Markdown, or as JSON to a FILE that ends in .json
/quit          end the session, as Ctrl-D does
A turn is a line. End a line with \\ to go on in the next one, or put several between lines that hold """ alone.
Begin with // to say something that begins with a slash. Ctrl-C stops an answer.'''

COMMANDS = ("/help", "/undo", "/retry", "/save", "/system", "/quit")
_BLOCK = '"""'

ReadLine = Callable[[str], str]
"""Shows a prompt, returns a line without its end; EOFError where there is no more input."""


@dataclass(frozen=True)
class Typed:
    """What was typed as one turn."""

    text: str
    is_block: bool = False
    """It stood between quotes or went over several lines: no command, whatever it begins with."""


def read_turn(read_line: ReadLine, more: str = "… ") -> Typed:
    """One turn, of one line or several; blank lines before it are passed over.

    Raises:
        EOFError: there is no more input. A turn that the input breaks off is returned first.
    """
    line = ""
    while not line.strip():
        line = read_line("> ")
    if line.strip() == _BLOCK:
        return Typed("\n".join(_until_end(read_line, more)), is_block=True)
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        try:
            lines.append(read_line(more))
        except EOFError:
            break
    return Typed("\n".join(lines), is_block=len(lines) > 1)


def _until_end(read_line: ReadLine, more: str) -> Iterator[str]:
    while True:
        try:
            line = read_line(more)
        except EOFError:
            return
        if line.strip() == _BLOCK:
            return
        yield line


class ChatTerminal:
    """Runs a session until its input ends."""

    def __init__(
        self,
        session: ChatSession,
        read_line: ReadLine,
        out: TextIO,
        notes: TextIO,
        *,
        interactive: bool,
        on_terminal: bool,
    ) -> None:
        """Args:
        session: what is run.
        read_line: where turns come from.
        out: where answers go.
        notes: where everything else goes.
        interactive: a person sits there: a failure is told, and the session goes on. Otherwise it ends the session.
        on_terminal: `out` is a terminal; signs that would steer it are replaced.
        """
        self._session, self._read_line = session, read_line
        self._out, self._notes = out, notes
        self._interactive, self._on_terminal = interactive, on_terminal
        self._saved: set[Path] = set()

    def run(self) -> None:
        """Read turns and answer them.

        Raises:
            UserError: without a person, a turn cannot be answered.
        """
        while True:
            try:
                turn = read_turn(self._read_line, "… " if self._interactive else "")
                if not self._take(turn):
                    return
            except EOFError:
                if self._interactive:
                    self._note("")
                return
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                self._note("\n(Ctrl-D or /quit ends the session)")
            except UserError as error:
                if not self._interactive:
                    raise
                self._note(str(error))

    def _take(self, turn: Typed) -> bool:
        """Do what was typed; False ends the session."""
        text = turn.text
        if not turn.is_block and text.startswith("/") and not text.startswith("//"):
            name, _, rest = text.partition(" ")
            return self._command(name, rest.strip())
        if not text.strip():
            self._note("(an empty turn is not sent)")
            return True
        self._show(self._session.say(text if turn.is_block else text.removeprefix("/")))
        return True

    def _command(self, name: str, rest: str) -> bool:
        match name:
            case "/help":
                self._note(HELP)
            case "/undo":
                undone = self._session.undo()
                self._note(f"taken back: {_short(undone[0].content)}" if undone else "there is nothing to take back")
            case "/retry":
                if self._session.has_question:
                    self._show(self._session.retry())
                else:
                    self._note("there is nothing to ask again")
            case "/system":
                self._system(rest)
            case "/save":
                path = _file_of(rest) if rest else self._session.history.path.with_suffix(".md")
                save_conversation(self._session.history, path, replace=path in self._saved)
                self._saved.add(path)
                self._note(f"saved as {path}")
            case "/quit":
                return False
            case _:
                hint = did_you_mean(name, COMMANDS) or "/help lists the commands."
                self._note(f"unknown command {name}. {hint} To say it to the model, begin with //.")
        return True

    def _system(self, text: str) -> None:
        if text:
            self._session.set_system("" if text == "-" else text)
        self._note(f"system prompt: {self._session.history.system or '(none)'}")

    def _show(self, answer: Iterator[str]) -> None:
        said = False
        try:
            with closing(cast("Generator[str, None, None]", answer)):
                for piece in answer:
                    said = said or bool(piece.strip())
                    self._out.write(harmless(piece) if self._on_terminal else piece)
                    self._out.flush()
        except KeyboardInterrupt:
            if not self._interactive:
                raise
            kept = "the answer so far is kept" if said else "nothing was answered"
            self._note(f"\n(stopped; {kept}. /retry asks again, /undo takes your turn back)")
            return
        except UserError as error:
            if said:
                self._out.write("\n")
            hint = " /retry asks again, /undo takes your turn back." if self._interactive else ""
            raise UserError(f"{error}{hint}") from error
        self._out.write("\n")
        self._out.flush()
        if not said:
            self._note("(an empty answer; /retry asks again)")

    def _note(self, text: str) -> None:
        print(harmless(text), file=self._notes, flush=True)


def read_line_of(source: TextIO) -> ReadLine:
    """Lines of a terminal, with the keys of readline, or of a pipe, without a prompt."""
    if source is sys.stdin and source.isatty() and sys.stdout.isatty():
        return input

    def read_line(prompt: str) -> str:
        if source.isatty():  # input() would write the prompt into the file that the answers go to
            print(prompt, end="", file=sys.stderr, flush=True)
        line = source.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n").removesuffix("\r")

    return read_line


def _file_of(typed: str) -> Path:
    try:
        return Path(typed).expanduser()
    except RuntimeError:
        raise UserError(f"{typed}: there is no such user. Give another name: /save FILE") from None


def _short(text: str) -> str:
    first = " ".join(text.split())
    return first if len(first) <= 60 else f"{first[:59]}…"
