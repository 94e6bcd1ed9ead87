"""The command `transformer-from-scratch`. Nothing heavy is imported here."""

from importlib.resources import files

from roadmap_shared.cli import Command, run_cli

CONFIGS = files("transformer_from_scratch") / "configs"
COMMANDS = [
    Command(
        name="run",
        summary="Train a decoder-only language model on a text, evaluate it exactly, sample from it, report.",
        config_class="transformer_from_scratch.config:LanguageModelConfig",
        function="transformer_from_scratch.train_simple_lm:run",
        default_config="default",
    ),
    Command(
        name="generate",
        summary="Continue prompts with a trained model, or with GPT-2 weights.",
        config_class="transformer_from_scratch.config:GenerateConfig",
        function="transformer_from_scratch.generate_command:run",
        default_config=None,
    ),
]


def main() -> int:
    """Entry point of the installed command; returns the exit code."""
    return run_cli(
        prog="transformer-from-scratch",
        description="A Transformer written by hand: train it, look inside it, find what is wrong with yours.",
        commands=COMMANDS,
        configs=CONFIGS,
    )
