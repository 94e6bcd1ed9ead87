"""The command `text-generation`. Nothing heavy is imported here."""

from collections.abc import Sequence
from importlib.resources import files

from roadmap_shared.cli import Command, run_cli

CONFIGS = files("text_generation") / "configs"
COMMANDS = [
    Command(
        name="run",
        summary="Train a small language model or take one, measure it, compare decoding strategies, report.",
        config_class="text_generation.config:GenerationConfig",
        function="text_generation.run:run",
        default_config="default",
    ),
    Command(
        name="finetune",
        summary="Fine-tune a model on conversations, in full or by LoRA.",
        config_class="text_generation.config:FinetuneConfig",
        function="text_generation.training.sft_command:run_finetune",
        default_config="finetune",
    ),
    Command(
        name="align",
        summary="Align a model with preferences (DPO) or with rewards (GRPO).",
        config_class="text_generation.config:AlignConfig",
        function="text_generation.training.alignment_command:run_align",
        default_config="align",
    ),
    Command(
        name="evaluate",
        summary="Measure given texts: perplexity and bits per byte under a model, and their diversity.",
        config_class="text_generation.config:EvaluateConfig",
        function="text_generation.evaluation.commands:run_evaluate",
        default_config=None,
    ),
    Command(
        name="microscope",
        summary="Show one generation token by token: what each way of choosing kept and dropped.",
        config_class="text_generation.config:MicroscopeConfig",
        function="text_generation.decoding.commands:run_microscope",
        default_config=None,
    ),
    Command(
        name="generate",
        summary="Answer one prompt, freely or as JSON that fits a schema.",
        config_class="text_generation.config:GenerateConfig",
        function="text_generation.generate:run_generate",
        default_config=None,
    ),
    Command(
        name="prompts",
        summary="List, show or render the prompt templates.",
        config_class="text_generation.config:PromptsConfig",
        function="text_generation.prompting.commands:run_prompts",
        default_config=None,
    ),
    Command(
        name="ab",
        summary="Compare prompt templates on a set of cases.",
        config_class="text_generation.config:ABConfig",
        function="text_generation.prompting.commands:run_ab",
        default_config=None,
    ),
    Command(
        name="inject",
        summary="Attack a model with prompt injections, under one defence after another.",
        config_class="text_generation.config:InjectConfig",
        function="text_generation.prompting.commands:run_inject",
        default_config=None,
    ),
    Command(
        name="write",
        summary="Write a story by outline, draft, critique and revision, each kept in a folder.",
        config_class="text_generation.config:WriteConfig",
        function="text_generation.writing.commands:run_write",
        default_config=None,
    ),
    Command(
        name="chat",
        summary="Talk to a model in the terminal; the history is kept and gone on with.",
        config_class="text_generation.config:ChatConfig",
        function="text_generation.writing.commands:run_chat",
        default_config=None,
    ),
    Command(
        name="code",
        summary="Write, explain, review or test a Python function.",
        config_class="text_generation.config:CodeConfig",
        function="text_generation.coding.commands:run_code",
        default_config=None,
    ),
    Command(
        name="pass-at-k",
        summary="Let a model solve programming problems and run its answers in a sandbox.",
        config_class="text_generation.config:PassAtKConfig",
        function="text_generation.coding.commands:run_pass_at_k",
        default_config=None,
    ),
    Command(
        name="serve",
        summary="Serve a model behind an OpenAI-compatible API, with a chat page.",
        config_class="text_generation.config:ServingConfig",
        function="text_generation.serving.command:run",
        default_config=None,
    ),
    Command(
        name="rate",
        summary="Rate pairs of texts blindly, in the terminal or in a web page.",
        config_class="text_generation.config:RateConfig",
        function="text_generation.evaluation.human_evaluation:run_rate",
        default_config=None,
    ),
    Command(
        name="votes",
        summary="Evaluate ratings: strengths, agreement, how many more votes until it is decided.",
        config_class="text_generation.config:VotesConfig",
        function="text_generation.evaluation.human_evaluation:run_votes",
        default_config=None,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the installed command; returns the exit code. Without `argv`, the arguments of the process."""
    return run_cli(
        prog="text-generation",
        description="Causal language models: train, compare decoding and prompts, fine-tune, evaluate and serve.",
        commands=COMMANDS,
        configs=CONFIGS,
        argv=argv,
    )
