"""The one parser, tyro, behind a function whose every failure is a one-line `UserError`.

tyro prints a box and exits. Its hook `tyro._errors.on_parse_error` hands over the failure before that; the
hook is marked as unstable, which is why pyproject.toml pins the exact version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from roadmap_shared.config.settings import Setting, nearest, sections_of, settings_of
from roadmap_shared.config.yaml_files import TEXT_MARK
from roadmap_shared.errors import UserError, one_line

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

Config = TypeVar("Config")

_FLAG = re.compile(r"--?[A-Za-z]")
_NEGATIVE_NUMBER = re.compile(r"-(inf|infinity|nan)", re.IGNORECASE)


class _MissingSettingError(UserError):
    """A required setting is neither in the file nor among the arguments."""


def parse(
    config_class: type[Config],
    from_file: dict[str, list[str]],
    from_user: Sequence[str],
    *,
    prog: str,
    description: str,
    file_name: str,
) -> Config:
    """Parse the texts of a YAML file and the user's arguments, which win, into a config.

    Raises:
        UserError: a flag is unknown, a value has the wrong type, a required setting is missing, or the
            config's own checks (`ValueError` in `__post_init__`) refuse the values.
    """
    settings = settings_of(config_class)
    from_user = _full_names(from_user, settings)
    given = flags_in(from_user)
    _check_flags(given, settings)
    flags: list[str] = []
    positionals: list[str] = []
    for name, texts in from_file.items():
        if settings[name].positional:
            positionals += texts
        else:
            flags += _flag(name, texts)
    # Positional values of the file come last, so that the user's take their places.
    separator = [] if "--" in from_user else ["--"]
    arguments = [*flags, *from_user, *separator, *positionals]

    def refuse(event: Any) -> NoReturn:
        kind = _MissingSettingError if type(event).__name__ == "MissingArgs" else UserError
        raise kind(_explain(event, settings, given, from_file, file_name))

    config, surplus = _tyro(config_class, arguments, prog, description, refuse)
    if positionals and surplus[-len(positionals) :] == positionals:
        surplus = surplus[: -len(positionals)]
    if surplus:
        raise UserError(f"unexpected argument '{surplus[0]}'. A text with spaces needs quotes; see --help.")
    return config


def print_help(
    config_class: type, from_file: dict[str, list[str]], *, prog: str, description: str, file_name: str
) -> None:
    """Print tyro's help, with the YAML file's values as the defaults.

    Where a required setting is in neither, there is no config to show, and the defaults are the class's own.

    Raises:
        UserError: the file's values do not fit the class.
    """
    try:
        config = parse(config_class, from_file, (), prog=prog, description=description, file_name=file_name)
        default: dict[str, Any] = {"default": config}
    except _MissingSettingError:
        default = {}
    with suppress(SystemExit):
        _tyro(config_class, ["--help"], prog, description, lambda event: None, **default)


def flags_in(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return the texts behind each flag, its hyphens as underscores; the last occurrence counts."""
    flags: dict[str, list[str]] = {}
    texts: list[str] = []
    for argument in arguments:
        if argument == "--":
            break
        if _FLAG.match(argument) and not _NEGATIVE_NUMBER.fullmatch(argument):
            flag, has_value, value = argument.partition("=")
            dashes = "--" if flag.startswith("--") else "-"
            texts = [value] if has_value else []
            flags[dashes + flag.removeprefix(dashes).replace("-", "_")] = texts
        else:
            texts.append(argument)
    return flags


def _full_names(arguments: Sequence[str], settings: dict[str, Setting]) -> list[str]:
    """Put the dotted flag in place of each alias, up to `--`: all that follows knows one name for a setting."""
    flags = {alias: f"--{name}" for name, setting in settings.items() for alias in setting.aliases}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parts = (argument.partition("=") for argument in arguments[:end])
    return [*(flags.get(flag, flag) + mark + value for flag, mark, value in parts), *arguments[end:]]


def _check_flags(given: dict[str, list[str]], settings: dict[str, Setting]) -> None:
    """Refuse an unknown flag before tyro sees it, which crashes on one beside an optional positional."""
    names = [name for name, setting in settings.items() if not setting.positional]
    for flag in given:
        name = flag.removeprefix("--")
        if name in sections_of(settings):
            below = ", ".join(f"--{known}" for known in names if known.startswith(f"{name}."))
            raise UserError(f"{flag} is a section; its settings are {below}")
        if name not in names:
            hint = nearest(name, names).replace("'", "'--", 1)
            raise UserError(f"unknown flag '{flag}'. {hint or 'See --help.'}")


def _flag(name: str, texts: list[str]) -> list[str]:
    """Return the arguments for a value from a file; `=` lets the first text begin with a dash."""
    return [f"--{name}={texts[0]}", *texts[1:]] if texts else [f"--{name}"]


def _tyro(
    config_class: type[Config],
    arguments: Sequence[str],
    prog: str,
    description: str,
    refuse: Callable[[Any], None],
    **default: Any,
) -> tuple[Config, list[str]]:
    """Call tyro: explicit True and False, names with underscores, `refuse` on any failure."""
    import tyro
    from tyro._errors import on_parse_error

    with on_parse_error(refuse):
        return tyro.cli(
            config_class,
            prog=prog,
            description=description,
            args=arguments,
            use_underscores=True,
            return_unknown_args=True,
            config=(tyro.conf.FlagConversionOff, tyro.conf.PositionalMetavarFromFieldName),
            registry=_registry(),
            **default,
        )


def _explain(
    event: Any,
    settings: dict[str, Setting],
    given: dict[str, list[str]],
    from_file: dict[str, list[str]],
    file_name: str,
) -> str:
    """Say in one line what tyro refused, and whether the command line or the file is to blame."""
    from tyro import _errors

    if isinstance(event, _errors.MissingArgs):
        names = [_name(missing.arg) for missing in event.missing_arguments]
        shown = [name if settings[name].positional else f"--{name}" for name in names]
        return f"{', '.join(shown)} must be given: expected {settings[names[0]].expected}"
    if isinstance(event, _errors.InstantiationFailure) and event.argument is None:
        return one_line(event.message)
    setting = settings[_name(event.argument)]
    if setting.positional:
        return f"{setting.name}: expected {setting.expected}"
    flag = f"--{setting.name}"
    place = flag if flag in given else f"{file_name}: {setting.name}"
    texts = given[flag] if flag in given else from_file[setting.name]
    if not texts:
        return f"{place}: needs a value: {setting.expected}"
    shown = " ".join(f"'{text.removeprefix(TEXT_MARK)}'" for text in texts)
    return f"{place}: {shown} is not {setting.expected}"


def _name(argument: Any) -> str:
    """Return the dotted name of a tyro argument."""
    return f"{argument.intern_prefix}.{argument.field.intern_name}".removeprefix(".")


def _registry() -> ConstructorRegistry:
    """Return rules for text, numbers and booleans that read a YAML file's spelling as well as Python's."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    readers: dict[type, tuple[str, Callable[[str], Any]]] = {
        str: ("TEXT", lambda text: text.removeprefix(TEXT_MARK)),
        float: ("NUMBER", lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan"))),
        bool: ("{True,False}", _read_bool),
    }

    def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type not in readers:
            return None
        metavar, read = readers[info.type]
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=lambda texts: read(texts[0]),
            is_instance=lambda value: isinstance(value, info.type),
            str_from_instance=lambda value: [str(value)],
        )

    registry = ConstructorRegistry()
    registry.primitive_rule(rule)
    return registry


def _read_bool(text: str) -> bool:
    """Read True or False in any case."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"
