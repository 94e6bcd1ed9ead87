"""The command line that the six projects share: `<prog> <command> [--config X] [--section.field value]`.

Exit codes: 0 done, 2 the user can mend it (one line on stderr), 130 interrupted, 1 a bug (with its
traceback). `--help` imports neither a command's code nor the parser.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError, did_you_mean, one_line, system_error
from roadmap_shared.ranks import is_main_process

_CANNOT_WRITE = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EFBIG: "Raise the limit for one file (ulimit -f)",
    errno.EROFS: "Make it writable",
    errno.EACCES: "Change its permissions",
}
"""What a user can do where the system refuses to write."""

_EXIT_USER_ERROR = 2
_EXIT_INTERRUPTED = 128 + 2
_EXIT_BROKEN_PIPE = 128 + 13


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand of a project. What it needs is imported when it is called, not before."""

    name: str
    summary: str
    """One line for the list of commands."""

    config_class: str | type
    """Dataclass of its settings, or where it is: `module:Class`."""

    function: str
    """Where the function is that takes the config: `module:function`. Its result is ignored."""

    default_config: str | None
    """Shipped YAML file to use without `--config`, such as "default"; None uses none."""


def run_cli(
    prog: str,
    description: str,
    commands: Sequence[Command],
    configs: Traversable | Path,
    argv: Sequence[str] | None = None,
) -> int:
    """Run the command that the arguments name and return the exit code.

    Args:
        prog: name of the installed command, "rag-qa"; its distribution is "roadmap-rag-qa".
        description: one or two sentences for `--help`.
        commands: the main one first.
        configs: folder of the shipped YAML files.
        argv: the arguments; None takes those of the process.
    """
    # By default OpenMP's threads wait for each other by spinning. Where a second program wants the core, a step of a
    # small model then takes five times as long; sleeping costs next to nothing. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = {command.name for command in commands}
    speaker = f"{prog} {arguments[0]}" if arguments and arguments[0] in known else prog
    try:
        code = _dispatch(prog, description, commands, configs, arguments)
        # A reader that has gone (`| head`) is noticed here and not while the interpreter shuts down.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _say(speaker, one_line(error))
    except KeyboardInterrupt:
        return _say(speaker, "interrupted", _EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    except MemoryError:
        return _say(speaker, "out of memory. Use a smaller batch, context or model.")
    except Exception as error:
        # Of the output: what a command writes is dealt with where its settings are known.
        if (line := _cannot_write(error)) is None:
            raise
        return _say(speaker, line)


def _dispatch(
    prog: str,
    description: str,
    commands: Sequence[Command],
    configs: Traversable | Path,
    arguments: list[str],
) -> int:
    name, *rest = arguments or [""]
    if name in ("-h", "--help"):
        print(_overview(prog, description, commands))
        return 0
    if name == "--version":
        print(f"{prog} {_version(prog)}")
        return 0
    command = next((command for command in commands if command.name == name), None)
    if command is not None:
        return _call(prog, command, configs, rest)
    names = [command.name for command in commands]
    problem = f"unknown command '{name}'" if name else "which command?"
    hint = did_you_mean(name, names) or f"Commands: {', '.join(names)}."
    raise UserError(f"{problem}{'.' if name else ''} {hint} See {prog} --help.")


def _call(prog: str, command: Command, configs: Traversable | Path, arguments: list[str]) -> int:
    from roadmap_shared.config import parse_config

    config_class = command.config_class
    try:
        config = parse_config(
            _import(config_class) if isinstance(config_class, str) else config_class,
            arguments,
            prog=f"{prog} {command.name}",
            description=command.summary,
            configs=configs,
            default=command.default_config,
        )
    except SystemExit:  # after --help
        return 0
    try:
        _import(command.function)(config)
    except UserError:  # says it better already
        raise
    except Exception as error:
        if (line := _cannot_write(error, config)) is None:
            raise
        raise UserError(line) from error
    return 0


def _cannot_write(error: Exception, config: Any = None) -> str | None:
    """The line for a file that the system refused to write, also where a library reports it in its own way, or None.

    Args:
        error: what ended the command.
        config: the command's settings. The section `run` says where it writes and how it is continued.
    """
    refused = system_error(error)
    if refused is None or refused.errno not in _CANNOT_WRITE:
        return None
    run = getattr(config, "run", None)
    root = getattr(run, "root", None)
    place = refused.filename or root
    remedy = _CANNOT_WRITE[refused.errno]
    if root is not None:
        resume = getattr(run, "resume", None) or "latest"
        remedy += f" and continue with --run.resume {resume}, or write elsewhere with --run.root FOLDER"
    return f"{f'{place}: ' if place else ''}{refused.strerror}. {remedy}."


def _import(place: str) -> Any:
    """Import `module:name`."""
    from importlib import import_module

    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _overview(prog: str, description: str, commands: Sequence[Command]) -> str:
    width = max(len(command.name) for command in commands)
    lines = [f"  {command.name:<{width}}  {command.summary}" for command in commands]
    return "\n".join(
        [
            f"usage: {prog} COMMAND [--config NAME|FILE] [--section.field VALUE ...]",
            *("", description, ""),
            *("commands:", *lines, ""),
            f"'{prog} COMMAND --help' lists the command's settings; '{prog} --version' prints the version.",
        ]
    )


def _version(prog: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(f"roadmap-{prog}")
    except PackageNotFoundError:
        return "(from source, not installed)"


def _say(speaker: str, message: str, code: int = _EXIT_USER_ERROR) -> int:
    """Print the line, once for all processes of a `torchrun`, and return the exit code."""
    if is_main_process():
        print(f"{speaker}: {message}", file=sys.stderr)
    return code
