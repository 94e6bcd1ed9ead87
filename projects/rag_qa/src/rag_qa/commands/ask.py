"""`rag-qa ask`: an answer from the index, each sentence with its source."""

from rag_qa.assistant import Assistant
from rag_qa.commands.printing import answer_record, print_answer, print_json
from rag_qa.commands.search import only
from rag_qa.config import AskConfig
from rag_qa.types import User


def run(config: AskConfig) -> None:
    """Print the answer, or say that the documents do not hold it.

    Raises:
        UserError: there is no index, it belongs to another encoder, or the model cannot be reached.
    """
    assistant = Assistant.open(
        config.index,
        encoder=config.encoder,
        store=config.store,
        retrieval=config.retrieval,
        generation=config.generation,
    )
    where = only(assistant, config.source)
    answer = assistant.ask(config.question, user=User(groups=config.groups), where=where)
    if config.json:
        print_json(answer_record(answer))
    else:
        print_answer(answer)
