"""The command `model-optimization`. Nothing heavy is imported here."""

from collections.abc import Sequence
from importlib.resources import files

from roadmap_shared.cli import Command, run_cli

CONFIGS = files("model_optimization") / "configs"
COMMANDS = [
    Command(
        name="run",
        summary="Make small and fast variants of a classifier, measure all of them, report what each saves and costs.",
        config_class="model_optimization.config.run:OptimizationConfig",
        function="model_optimization.run:run",
        default_config="default",
    ),
    Command(
        name="export",
        summary="Export a classifier to ONNX, checked against torch.",
        config_class="model_optimization.config.export:ExportCommandConfig",
        function="model_optimization.commands.export:run",
        default_config=None,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the installed command; returns the exit code. Without `argv`, the arguments of the process."""
    return run_cli(
        prog="model-optimization",
        description="Make a Transformer small and fast, prove what it cost, deploy and watch it.",
        commands=COMMANDS,
        configs=CONFIGS,
        argv=argv,
    )
