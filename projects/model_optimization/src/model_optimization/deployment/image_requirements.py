"""What an image must install to serve a variant: the packages that this environment serves with, in their versions."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from model_optimization.variants import Kind

SERVER = (
    *("fastapi", "jinja2", "numpy", "prometheus-client", "psutil", "pydantic", "pyyaml", "safetensors", "scipy"),
    *("starlette", "tokenizers", "tqdm", "transformers", "tyro", "uvicorn"),
)
"""Packages that the server imports, whatever computes the variant."""

ENGINE: dict[Kind, tuple[str, ...]] = {"onnx": ("onnxruntime",), "torch": ("torch",)}

# The image is Linux's, wherever it is written.
_IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


def pinned_requirements(kind: Kind) -> list[str]:
    """`name==version` of all packages that a server of such variants needs, and of all that these need.

    A package that is not installed here, because only Linux needs it, stands without a version.
    """
    return sorted(f"{name}=={version}" if version else name for name, version in closure(SERVER + ENGINE[kind]).items())


def closure(roots: Sequence[str]) -> dict[str, str | None]:
    """Versions of the packages and of all that they require, by canonical name; None for one that is not installed."""
    versions: dict[str, str | None] = {}
    waiting = [Requirement(root) for root in roots]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        try:
            found = distribution(name)
        except PackageNotFoundError:
            versions[name] = None
            continue
        versions[name] = found.version.partition("+")[0]  # +cpu is a build, of which an index has others
        for requirement in map(Requirement, found.requires or ()):
            if _applies(requirement, wanted.extras):
                waiting.append(requirement)
    return versions


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    here = {**default_environment(), **_IMAGE}
    return any(requirement.marker.evaluate({**here, "extra": extra}) for extra in ("", *extras))
