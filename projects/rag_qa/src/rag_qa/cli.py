"""The command `rag-qa`. Nothing heavy is imported here."""

from collections.abc import Sequence
from importlib.resources import files

from roadmap_shared.cli import Command, run_cli

CONFIGS = files("rag_qa") / "configs"
COMMANDS = [
    Command(
        name="run",
        summary="Index a corpus, measure retrieval, answers and refusals on questions with known answers, report.",
        config_class="rag_qa.config:RagConfig",
        function="rag_qa.run:run",
        default_config="default",
    ),
    Command(
        name="ingest",
        summary="Bring an index up to date with files and folders.",
        config_class="rag_qa.config:IngestConfig",
        function="rag_qa.commands.ingest:run",
        default_config=None,
    ),
    Command(
        name="ask",
        summary="Answer a question from the index, each sentence with its source.",
        config_class="rag_qa.config:AskConfig",
        function="rag_qa.commands.ask:run",
        default_config=None,
    ),
    Command(
        name="chat",
        summary="Ask in turns; a question may refer to the ones before it.",
        config_class="rag_qa.config:ChatConfig",
        function="rag_qa.commands.chat:run",
        default_config=None,
    ),
    Command(
        name="agent",
        summary="Let a language model search, read and calculate until it can answer, each step shown.",
        config_class="rag_qa.config:AgentCommandConfig",
        function="rag_qa.commands.agent:run",
        default_config=None,
    ),
    Command(
        name="search",
        summary="Show which passages a question finds, and at which rank in every stage.",
        config_class="rag_qa.config:SearchConfig",
        function="rag_qa.commands.search:run",
        default_config=None,
    ),
    Command(
        name="documents",
        summary="List what is in the index.",
        config_class="rag_qa.config:DocumentsConfig",
        function="rag_qa.commands.documents:run",
        default_config=None,
    ),
    Command(
        name="delete",
        summary="Remove documents and prove that nothing of them is left in the index's files.",
        config_class="rag_qa.config:DeleteConfig",
        function="rag_qa.commands.delete:run",
        default_config=None,
    ),
    Command(
        name="evaluate",
        summary="Measure search and answers on a BEIR folder, a SQuAD file, or questions about your own files.",
        config_class="rag_qa.config:EvaluateConfig",
        function="rag_qa.commands.evaluate:run",
        default_config=None,
    ),
    Command(
        name="calibrate",
        summary="Fit the refusal of answers to your own documents.",
        config_class="rag_qa.config:CalibrateConfig",
        function="rag_qa.commands.calibrate:run",
        default_config=None,
    ),
    Command(
        name="cache",
        summary="Show the size of the embedding cache, or clear it.",
        config_class="rag_qa.config.commands:CacheConfig",
        function="rag_qa.commands.cache:run",
        default_config=None,
    ),
    Command(
        name="serve",
        summary="Open the API and the web page.",
        config_class="rag_qa.config:ServeConfig",
        function="rag_qa.app.serve:run",
        default_config=None,
    ),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the installed command; returns the exit code. Without `argv`, the arguments of the process."""
    return run_cli(
        prog="rag-qa",
        description="Questions to your own documents: ingest them, ask, check the citations.",
        commands=COMMANDS,
        configs=CONFIGS,
        argv=argv,
    )
