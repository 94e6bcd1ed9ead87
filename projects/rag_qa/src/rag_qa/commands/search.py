"""`rag-qa search`: which passages a question finds, and at which rank in every stage."""

from dataclasses import asdict

from rag_qa.assistant import Assistant
from rag_qa.commands.printing import print_json, print_passages
from rag_qa.config import SearchConfig
from rag_qa.protocols import Condition, Where
from rag_qa.types import User


def run(config: SearchConfig) -> None:
    """Print the passages, best first.

    Raises:
        UserError: there is no index, it belongs to another encoder, or it has no such document.
    """
    assistant = Assistant.open(config.index, encoder=config.encoder, store=config.store, retrieval=config.retrieval)
    where = only(assistant, config.source)
    found = assistant.search(config.question, user=User(groups=config.groups), where=where)
    if config.json:
        for item in found:
            print_json(asdict(item))
    elif found:
        print_passages(found)
    else:
        print("nothing found")


def only(assistant: Assistant, source: str | None) -> Where:
    """A filter for one document. Raises UserError: it is not in the index."""
    if source is None:
        return ()
    assistant.index.document(source)
    return (Condition(field="source", any_of=(source,)),)
