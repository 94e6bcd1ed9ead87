"""Settings for somebody else's constructor: what the learner gave, and a config that answers to every usual name."""

import ast
from collections.abc import Mapping
from typing import Any

from roadmap_shared.errors import UserError
from transformer_from_scratch.doctor.naming import constructor_role, plain

FLAGS = {"bias": True, "qkvbias": True, "modeltype": None, "flash": True}
"""Settings that are no sizes, by their plain names."""


class AnyConfig:
    """Answers to every usual name of a setting, as an attribute and as a key."""

    def __init__(self, values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._values, self._given = dict(values), dict(given)
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._given:
            return self._given[name]
        role = constructor_role(name)
        if role in self._values:
            self.asked.add(role)
            return self._values[role]
        if plain(name) in FLAGS:
            return FLAGS[plain(name)]
        raise AttributeError(f"the config has no '{name}': give it as --arguments {name}=VALUE")

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError as error:
            raise KeyError(str(error)) from error

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dictionary."""
        return getattr(self, name, default)

    def __repr__(self) -> str:
        return "config"


def parse_arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """("d_model=64", "causal=True") -> {"d_model": 64, "causal": True}; what is no Python literal stays a text.

    Raises:
        UserError: a pair has no equals sign or no name.
    """
    arguments = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--arguments {pair}: give constructor arguments as name=value, as in d_model=64")
        try:
            arguments[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            arguments[name] = text
    return arguments
