"""Text, code and weights that need no network: they come with Python, with a package from pip, or with this one."""

from roadmap_shared.offline.encoder import minilm_folder
from roadmap_shared.offline.sentiment import SentimentText, sentiment_texts
from roadmap_shared.offline.text import SourceFunction, Text, python_reference, standard_library_functions

__all__ = [
    "SentimentText",
    "SourceFunction",
    "Text",
    "minilm_folder",
    "python_reference",
    "sentiment_texts",
    "standard_library_functions",
]
