"""Real text, code and weights that need no network: they come with Python, or with a package from pip."""

from roadmap_shared.offline.encoder import minilm_folder
from roadmap_shared.offline.text import SourceFunction, Text, python_reference, standard_library_functions

__all__ = ["SourceFunction", "Text", "minilm_folder", "python_reference", "standard_library_functions"]
