"""The command `bert-sentiment`. Nothing heavy is imported here."""

from collections.abc import Sequence
from importlib.resources import files

from roadmap_shared.cli import Command, run_cli

CONFIGS = files("bert_sentiment") / "configs"
COMMANDS = [
    Command(
        name="run",
        summary="Fine-tune an encoder on sentiment texts, evaluate it on every domain, report.",
        config_class="bert_sentiment.config:SentimentConfig",
        function="bert_sentiment.run:run",
        default_config="default",
    ),
    Command(
        name="compare",
        summary="Put models and baselines side by side on data sets, across them, and with fewer labels.",
        config_class="bert_sentiment.config:CompareConfig",
        function="bert_sentiment.comparison.command:run",
        default_config="compare",
    ),
    Command(
        name="arena",
        summary="Compare fine-tuning methods: accuracy, cost and forgetting, each at its best learning rate.",
        config_class="bert_sentiment.config:ArenaConfig",
        function="bert_sentiment.arena.command:run",
        default_config="arena",
    ),
    Command(
        name="predict",
        summary="Label texts or a file with a trained model.",
        config_class="bert_sentiment.config:PredictConfig",
        function="bert_sentiment.inference.predict_command:run",
        default_config=None,
    ),
    Command(
        name="serve",
        summary="Open a web page to try a trained model, with an API beside it.",
        config_class="bert_sentiment.config:ServeConfig",
        function="bert_sentiment.app.serve:run",
        default_config=None,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the installed command; returns the exit code. Without `argv`, the arguments of the process."""
    return run_cli(
        prog="bert-sentiment",
        description="Sentiment classifiers: fine-tune a pretrained encoder, see what it learned, put it to use.",
        commands=COMMANDS,
        configs=CONFIGS,
        argv=argv,
    )
