"""Configuration: nested frozen dataclasses, filled from a YAML file and the command line by one parser.

Precedence is dataclass default < YAML < `--section.field value`. Names are dotted and keep their underscores
(`--trainer.learning_rate`; `--trainer.learning-rate` is read too). Booleans take an explicit value in both
sources (`--trainer.compile True`), lists their items one after another (`--tracking.backends wandb mlflow`),
None is `None` on the command line and `null` in YAML. The string under a field is its help text.
`tyro.conf.Positional[str]` makes an argument without a flag, and `tyro.conf.arg(aliases=["--password"])` in its
`Annotated` gives a setting a short flag besides the dotted one. Fields may be nested dataclasses, str, int, float,
bool, Path, Literal, optional ones, and tuples or lists of them; a dict or a choice between dataclasses is not a
setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from roadmap_shared.config import parsing
from roadmap_shared.config.common import RunConfig, TrackingConfig
from roadmap_shared.config.settings import values_of
from roadmap_shared.config.yaml_files import find_config, read_settings, to_yaml
from roadmap_shared.errors import UserError

__all__ = [
    "RunConfig",
    "TrackingConfig",
    "config_differences",
    "config_source",
    "load_config",
    "parse_config",
    "to_yaml",
]

Config = TypeVar("Config")


def parse_config(
    config_class: type[Config],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    configs: Traversable | Path,
    default: str | None,
) -> Config:
    """Build a config from a YAML file and the command line.

    Args:
        config_class: a frozen dataclass, nested by section.
        arguments: the command line after the command's name. `--config X` in it names a shipped YAML file
            ("full") or a path; `--help` prints the settings with their values after the YAML file and raises
            SystemExit(0).
        prog: the command as the user typed it, for the help text.
        description: one or two sentences for the help text.
        configs: folder of the shipped YAML files.
        default: the shipped file to use without `--config`; None uses none.

    Raises:
        UserError: in one line, whatever is wrong with the file or the arguments.
    """
    chosen, rest = _split_config_flag(arguments)
    name = chosen or default
    from_file: dict[str, list[str]] = {}
    file_name = ""
    if name:
        file, file_name = find_config(name, configs)
        from_file = read_settings(file, config_class, file_name)
    if _asks_for_help(rest):
        now = f" (now: {name})" if name else ""
        about = f"{description}\n\n--config NAME|FILE: start from a shipped config or a YAML file{now}."
        parsing.print_help(config_class, from_file, prog=prog, description=about, file_name=file_name)
        raise SystemExit(0)
    config = parsing.parse(config_class, from_file, rest, prog=prog, description=description, file_name=file_name)
    # Not a field: where a config came from is no part of what it says, and two equal configs stay equal.
    object.__setattr__(config, "_config_source", name)
    return config


def load_config(config_class: type[Config], path: Path) -> Config:
    """Read a config from a YAML file alone, such as the `config.yaml` in a run folder.

    Raises:
        UserError: the file cannot be read or does not fit the class.
    """
    from_file = read_settings(path, config_class, str(path))
    return parsing.parse(config_class, from_file, (), prog="", description="", file_name=str(path))


def config_source(config: Any) -> str | None:
    """Return the name or path of the YAML file that `parse_config` read a config from, or None."""
    return getattr(config, "_config_source", None)


def config_differences(old: Any, new: Any) -> list[str]:
    """Return what differs between two configs of one class, as in ["trainer.lr: 0.001 → 0.002"]."""
    before, after = values_of(old), values_of(new)
    changed = [name for name in before if before[name] != after[name]]
    return [f"{name}: {_shown(before[name])} → {_shown(after[name])}" for name in changed]


def _split_config_flag(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `--config X` and `--config=X` out of the arguments; the last one counts."""
    chosen: str | None = None
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument == "--config" or argument.startswith("--config="):
            chosen = argument.partition("=")[2] if "=" in argument else next(remaining, "")
            if not chosen or chosen.startswith("--"):
                raise UserError("--config needs a shipped config's name or a YAML file")
        else:
            rest.append(argument)
    return chosen, rest


def _asks_for_help(arguments: Sequence[str]) -> bool:
    before_separator = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--help" in before_separator or "-h" in before_separator


def _shown(value: Any) -> str:
    """Return a value as a message shows it: a path without its class, a text in quotes."""
    return str(value) if isinstance(value, Path) else repr(value)
