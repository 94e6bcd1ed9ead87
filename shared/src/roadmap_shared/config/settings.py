"""The settings of a config class: its nested dataclass fields under dotted names such as `trainer.lr`."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from roadmap_shared.errors import did_you_mean

_SEQUENCES = (list, tuple, set, frozenset, Sequence)
_NOUNS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a path",
    type(None): "None",
}


@dataclass(frozen=True)
class Setting:
    """One leaf of the config tree."""

    name: str
    """Dotted name, `trainer.lr`."""

    annotation: Any
    """Type of the field, `Annotated` and its metadata stripped."""

    positional: bool
    """Whether it is given without a flag (`tyro.conf.Positional[...]`)."""

    aliases: tuple[str, ...] = ()
    """Further flags that mean it (`tyro.conf.arg(aliases=["--lr"])`), without a section."""

    @property
    def takes_list(self) -> bool:
        """Whether some value of it is a list or tuple."""
        return any((get_origin(option) or option) in _SEQUENCES for option in _options(self.annotation))

    @property
    def takes_none(self) -> bool:
        """Whether None, or a list with None in it, is a value of it."""
        return type(None) in _atoms(self.annotation)

    @property
    def takes_text(self) -> bool:
        """Whether free text (`str`) is a value of it."""
        return str in _atoms(self.annotation)

    @property
    def expected(self) -> str:
        """What a value must be, in words: "a number or None"."""
        return _in_words(self.annotation)


def settings_of(config_class: type) -> dict[str, Setting]:
    """Return the leaves of a config class by dotted name, in the order of definition.

    Raises:
        TypeError: the class is no dataclass, or a field is a dict or a choice between dataclasses.
    """
    if not dataclasses.is_dataclass(config_class):
        raise TypeError(f"{config_class!r} is not a dataclass")
    return {setting.name: setting for setting in _walk(config_class, "")}


def sections_of(settings: dict[str, Setting]) -> set[str]:
    """Return the dotted names of the sections that hold the settings: {"trainer"} for `trainer.lr`."""
    parts = (name.split(".") for name in settings)
    return {".".join(names[:depth]) for names in parts for depth in range(1, len(names))}


def values_of(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a config's leaves by dotted name."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= values_of(value, f"{prefix}{field.name}.")
        else:
            values[f"{prefix}{field.name}"] = value
    return values


def nearest(name: str, settings: Iterable[str]) -> str:
    """Return "Did you mean 'trainer.lr'?" for a misspelt name or for `lr` alone, and "" if none is near."""
    same_leaf = [known for known in settings if known.split(".")[-1] == name.split(".")[-1]]
    return did_you_mean(name, settings) or (f"Did you mean '{same_leaf[0]}'?" if same_leaf else "")


def _walk(config_class: type, prefix: str) -> Iterator[Setting]:
    from tyro.conf import Positional

    hints = get_type_hints(config_class, include_extras=True)
    for field in dataclasses.fields(config_class):
        annotation, metadata = _strip(hints[field.name])
        name = f"{prefix}{field.name}"
        if not field.init:
            continue
        if dataclasses.is_dataclass(annotation):
            yield from _walk(annotation, f"{name}.")  # type: ignore[arg-type]
            continue
        if any(atom is dict or dataclasses.is_dataclass(atom) for atom in _atoms(annotation)):
            raise TypeError(f"{config_class.__name__}.{field.name}: {annotation} cannot be a setting")
        aliases = tuple(alias for one in metadata for alias in getattr(one, "aliases", None) or ())
        yield Setting(name, annotation, Positional in metadata, aliases)


def _strip(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split `Annotated[T, ...]` into T and the metadata."""
    if get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _options(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    annotation, _ = _strip(annotation)
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _atoms(annotation: Any) -> set[Any]:
    """Return the types at the bottom of unions and lists; a `Literal` stands for itself."""
    atoms: set[Any] = set()
    for option in _options(annotation):
        origin = get_origin(option)
        if origin in _SEQUENCES:
            atoms |= set().union(*(_atoms(item) for item in get_args(option) if item is not Ellipsis))
        elif origin is Literal:
            atoms |= {option} | ({type(None)} if None in get_args(option) else set())
        else:
            atoms.add(origin or option)
    return atoms


def _in_words(annotation: Any) -> str:
    return " or ".join(_option_in_words(option) for option in _options(annotation))


def _option_in_words(option: Any) -> str:
    origin, arguments = get_origin(option), get_args(option)
    if origin is Literal:
        return "one of " + ", ".join(f"'{choice}'" for choice in arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"{len(arguments)} values ({', '.join(_in_words(item) for item in arguments)})"
    if origin in _SEQUENCES:
        return f"a list of values, each {_in_words(arguments[0])}"
    return _NOUNS.get(option, f"a {getattr(option, '__name__', option)}")
