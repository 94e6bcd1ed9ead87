"""The corpus that needs no network: the Python language reference and this project's guides."""

from rag_qa.corpus.guides import guide_documents
from rag_qa.corpus.python_topics import python_documents
from rag_qa.types import Document


def built_in_documents() -> list[Document]:
    """Guides first, then the topics of the running Python, each in alphabetical order of their sources.

    Raises:
        UserError: this Python comes without its help topics, or the installation without its guides.
    """
    return [*guide_documents(), *python_documents()]
