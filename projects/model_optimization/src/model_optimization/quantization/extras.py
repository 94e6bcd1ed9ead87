"""Libraries that come with an extra of this package, imported where they are asked for, and without what they log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from roadmap_shared.errors import UserError, one_line

# They tell of kernels for other processors that cannot be loaded here; torchao's are silenced where transformers may
# import it, in the package itself.
_TALKATIVE = {"bitsandbytes": ("bitsandbytes",)}


def imported(module: str, extra: str) -> ModuleType:
    """Import a module of an optional library, silently.

    Args:
        module: its full name.
        extra: of this package, which brings it.

    Raises:
        UserError: the library is missing, or does not fit the others.
    """
    library = module.partition(".")[0]
    if find_spec(library) is None:
        raise UserError(f"{library} is not installed: pip install 'roadmap-model-optimization[{extra}]'")
    try:
        with quiet(*_TALKATIVE.get(library, ())):
            return import_module(module)
    except Exception as error:  # an ImportError, or what a library of another version runs into
        raise UserError(
            f"{library} cannot be imported ({one_line(error)[:200]}): install the version that constraints.txt names"
        ) from error


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Within it, these loggers tell errors only."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
