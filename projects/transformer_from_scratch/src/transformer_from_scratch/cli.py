"""The command `transformer-from-scratch`. Nothing heavy is imported here."""

from collections.abc import Sequence
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
        name="mlm",
        summary="Train an encoder to guess hidden tokens of a text.",
        config_class="transformer_from_scratch.config:MaskedLMConfig",
        function="transformer_from_scratch.train_masked_lm:run",
        default_config="mlm",
    ),
    Command(
        name="dates",
        summary="Train an encoder-decoder to rewrite dates of many written forms as ISO 8601.",
        config_class="transformer_from_scratch.config:DatesConfig",
        function="transformer_from_scratch.train_dates:run",
        default_config="dates",
    ),
    Command(
        name="translate",
        summary="Train an encoder-decoder to translate, on sentence pairs from files, and score it with BLEU.",
        config_class="transformer_from_scratch.config:TranslationConfig",
        function="transformer_from_scratch.train_translation:run",
        default_config="translate",
    ),
    Command(
        name="generate",
        summary="Continue prompts with a trained model, or with GPT-2 weights.",
        config_class="transformer_from_scratch.config:GenerateConfig",
        function="transformer_from_scratch.generate_command:run",
        default_config=None,
    ),
    Command(
        name="doctor",
        summary="Examine an attention, model, norm or loss of your own, and name the likely bug.",
        config_class="transformer_from_scratch.config:DoctorConfig",
        function="transformer_from_scratch.doctor:run",
        default_config=None,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the installed command; returns the exit code. Without `argv`, the arguments of the process."""
    return run_cli(
        prog="transformer-from-scratch",
        description="A Transformer written by hand: train it, look inside it, find what is wrong with yours.",
        commands=COMMANDS,
        configs=CONFIGS,
        argv=argv,
    )
