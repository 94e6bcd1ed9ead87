"""Replacing modules inside a network."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def replace_modules(network: nn.Module, kind: type[Module], replacement: Callable[[str, Module], nn.Module]) -> int:
    """Put another module in the place of each one of exactly this class.

    Args:
        network: that is changed.
        kind: class of the modules; its subclasses are left alone.
        replacement: takes the full name of a module and the module; the module itself leaves it in its place.

    Returns:
        How many were replaced.
    """
    found = [(name, module) for name, module in network.named_modules() if type(module) is kind]
    replaced = 0
    for name, module in found:
        put = replacement(name, module)
        if put is not module:
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, put)
            replaced += 1
    return replaced
