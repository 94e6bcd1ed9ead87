"""`rag-qa agent`: a language model searches, reads and calculates in steps, all of them shown."""

import sys
from dataclasses import asdict

from rag_qa.assistant import Assistant
from rag_qa.commands.printing import harmless, place, print_json
from rag_qa.config.agent import AgentCommandConfig
from rag_qa.generation.agent import Agent, AgentAnswer, AgentStep
from rag_qa.generation.tool_model import OpenAIToolModel
from rag_qa.types import User

_SHOWN = 300
_ENDINGS = {
    "steps": "the bound on steps was reached",
    "tokens": "the bound on tokens was reached",
    "repeats": "the model repeated itself",
}


def run(config: AgentCommandConfig) -> None:
    """Print each step as it is made, then the answer with its sources.

    Raises:
        UserError: there is no index, or the model cannot be reached.
    """
    assistant = Assistant.open(config.index, encoder=config.encoder, store=config.store, retrieval=config.retrieval)
    model = OpenAIToolModel(config.model, config.base_url, config.api_key_env, config.timeout, config.retries)
    agent = Agent(assistant, model, config.agent, None if config.json else print_step)
    result = agent.ask(config.question, User(groups=config.groups))
    if config.json:
        print_json(asdict(result))
    else:
        print_result(result)


def print_step(step: AgentStep) -> None:
    """A call and the beginning of what came back."""
    outcome = "" if step.outcome == "done" else f" ({step.outcome})"
    print(f"{step.number}. {harmless(step.tool)} {harmless(step.arguments)}{outcome}")
    result = " ".join(harmless(step.result).split())
    print(f"   {result[:_SHOWN]}{'…' if len(result) > _SHOWN else ''}")
    sys.stdout.flush()


def print_result(result: AgentAnswer) -> None:
    """The answer, its citations, and what it took."""
    answer = result.answer
    numbered = list(dict.fromkeys(citation for one in answer.statements for citation in one.citations))
    print()
    for statement in answer.statements:
        marks = "".join(f"[{numbered.index(citation) + 1}]" for citation in statement.citations)
        print(harmless(statement.text) + (f" {marks}" if marks else "  (not supported by the documents)"))
    if not answer.statements:
        print(harmless(answer.text))
    for number, citation in enumerate(numbered, start=1):
        print(f"[{number}] {place(citation)}\n    {' '.join(harmless(citation.quote).split())}")
    ending = f"; {_ENDINGS[result.stopped]}" if result.stopped in _ENDINGS else ""
    print(f"({len(result.steps)} steps, {result.tokens:,} tokens{ending})")
