"""Every YAML file that a project ships is a valid configuration of one of its commands."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from roadmap_shared.cli import Command
from roadmap_shared.config import load_config
from roadmap_shared.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = [
    pytest.param(path, id=f"{path.parents[1].name}-{path.name}")
    for path in sorted(ROOT.glob("projects/*/src/*/configs/*"))
]


def cli_of(package: str) -> ModuleType:
    return import_module(f"{package}.cli")


def config_class_of(command: Command) -> type[Any]:
    if not isinstance(command.config_class, str):
        return command.config_class
    module, _, name = command.config_class.partition(":")
    return getattr(import_module(module), name)


def refusal(command: Command, path: Path) -> str | None:
    """Why a file is no configuration of a command; None when it is one."""
    try:
        load_config(config_class_of(command), path)
    except UserError as error:
        return f"{command.name}: {error}"
    return None


@pytest.mark.parametrize("path", SHIPPED)
def test_a_shipped_file_configures_a_command(path: Path) -> None:
    assert path.suffix == ".yaml"
    refusals = [refusal(command, path) for command in cli_of(path.parents[1].name).COMMANDS]
    assert None in refusals, "no command takes it:\n" + "\n".join(filter(None, refusals))


def test_the_main_command_takes_the_offline_and_the_full_configuration(root: Path, project: str) -> None:
    configs = root / "projects" / project / "src" / project / "configs"
    main_command = cli_of(project).COMMANDS[0]
    assert main_command.name == "run"
    assert main_command.default_config == "default"
    assert [refusal(main_command, configs / name) for name in ("default.yaml", "full.yaml")] == [None, None]


def test_each_command_takes_its_own_default(root: Path, project: str) -> None:
    configs = root / "projects" / project / "src" / project / "configs"
    commands = [command for command in cli_of(project).COMMANDS if command.default_config]
    refusals = [refusal(command, configs / f"{command.default_config}.yaml") for command in commands]
    assert refusals == [None] * len(commands)
