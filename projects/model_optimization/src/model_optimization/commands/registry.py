"""`model-optimization registry`: list versions, register a variant, promote one, or go back."""

import time

from model_optimization.config.serving import RegistryConfig
from model_optimization.deployment.registry import Registry, open_registry


def run(config: RegistryConfig) -> None:
    """Do what is asked, in the order register, challenger, promote or rollback, and show the registry.

    Raises:
        UserError: there is no such version or variant, or the registry cannot be read or written.
    """
    registry = open_registry(config.path)
    if config.register is not None:
        version = registry.register(config.register)
        print(f"registered {config.register} as version {version.number}")
    if config.challenger is not None:
        registry.set_challenger(config.challenger or None)
    if config.promote is not None:
        version = registry.promote(config.promote or None)
        print(f"version {version.number} is the champion")
    if config.rollback:
        version = registry.rollback()
        print(f"back to version {version.number}")
    print("\n".join(table(registry)))


def table(registry: Registry) -> list[str]:
    """A line a version: number, role, name, when it was registered."""
    versions = registry.versions()
    if not versions:
        return ["no versions yet: register a variant with --register FOLDER"]
    roles = {registry.role("champion"): "champion", registry.role("challenger"): "challenger"}
    return [
        f"{version.number:>4}  {roles.get(version.number, ''):<10}  "
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(version.created))}  {version.name}"
        for version in versions
    ]
