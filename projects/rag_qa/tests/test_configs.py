"""Every shipped YAML is a config of `run`, and nothing heavy is imported for reading it."""

import subprocess
import sys

import pytest

from rag_qa.cli import COMMANDS, CONFIGS
from rag_qa.config import RagConfig
from roadmap_shared.config import load_config, parse_config, to_yaml

SHIPPED = sorted(file.name.removesuffix(".yaml") for file in CONFIGS.iterdir() if file.name.endswith(".yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_is_read_and_written_back(name: str, tmp_path) -> None:
    config = parse_config(RagConfig, ["--config", name], prog="", description="", configs=CONFIGS, default=None)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_config(RagConfig, path) == config


def test_the_default_config_names_its_run() -> None:
    config = parse_config(RagConfig, [], prog="", description="", configs=CONFIGS, default="default")
    assert config.run.name == "python-and-guides"
    assert {"default", "full"} <= set(SHIPPED)


def test_configs_and_the_list_of_commands_import_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "faiss", "fastapi", "streamlit", "numpy", "matplotlib")
    places = [command.config_class for command in COMMANDS]
    code = (
        "import sys, importlib\n"
        "import rag_qa.cli\n"
        f"for place in {places!r}:\n"
        "    module, name = place.split(':')\n"
        "    getattr(importlib.import_module(module), name)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
