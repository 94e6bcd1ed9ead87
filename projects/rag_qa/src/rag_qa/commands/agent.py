"""`rag-qa agent`: a language model searches, reads and calculates in steps, all of them shown."""

import sys
from dataclasses import asdict, replace

from rag_qa.assistant import Assistant, on_its_pages
from rag_qa.commands.printing import beginning, bold, dim, harmless, print_citation, print_json, print_statements
from rag_qa.commands.terminal import columns, wrapped
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
    result = replace(result, answer=on_its_pages(result.answer, assistant.index))
    if config.json:
        print_json(asdict(result))
    else:
        print_result(result)


def print_step(step: AgentStep) -> None:
    """A call and the beginning of what came back."""
    mark = f"{step.number}. "
    outcome = "" if step.outcome == "done" else f" ({step.outcome})"
    call = f"{bold(harmless(step.tool))} {harmless(step.arguments)}{outcome}"
    print(wrapped(call, " " * len(mark), mark, columns()))
    print(dim(wrapped(beginning(harmless(step.result), _SHOWN), " " * len(mark), limit=columns())))
    sys.stdout.flush()


def print_result(result: AgentAnswer) -> None:
    """The answer, its citations, and what it took."""
    answer = result.answer
    print()
    numbered = print_statements(answer)
    if not answer.statements:
        print(wrapped(harmless(answer.text), limit=columns()))
    chunks = {item.chunk.id: item.chunk for item in answer.retrieved}
    for number, citation in enumerate(numbered, start=1):
        print_citation(number, citation, harmless(citation.quote), chunks.get(citation.chunk_id))
    ending = f"; {_ENDINGS[result.stopped]}" if result.stopped in _ENDINGS else ""
    print(dim(f"({len(result.steps)} steps, {result.tokens:,} tokens{ending})"))
