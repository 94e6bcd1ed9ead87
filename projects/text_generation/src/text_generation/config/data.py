"""Which texts a model is trained on, and the tokens that they become."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class CorpusConfig:
    """The built-in stories and functions, files, or a data set on the hub."""

    sources: tuple[Literal["stories", "functions"], ...] = ("stories", "functions")
    """Built-in texts to train on: stories from a grammar with control fields, and documented functions of the standard
    library. They need no network."""

    stories: int = 12000
    """Stories to write."""

    min_function_characters: int = 120
    """Shorter functions are left out."""

    max_function_characters: int = 1500
    """Longer functions are left out."""

    path: Path | None = None
    """File (.txt, .md, .py, .jsonl, .json, .parquet; each but the last also as .gz) or folder of .txt, .md and .py
    files instead."""

    name: str | None = None
    """Data set on the Hugging Face hub instead, such as roneneldan/TinyStories."""

    subset: str | None = None
    """Configuration of the hub data set."""

    split: str = "train"
    """Part of the hub data set to read."""

    text_column: str | None = None
    """Column with the text. None: the first of text, story, content, code, document, completion that is there."""

    separator: str = "<|endoftext|>"
    """Stands between the documents of a .txt file, on a line of its own or within one. A file without it is one
    document."""

    max_documents: int | None = None
    """At most this many documents of a path or a hub data set, the first ones. None: all."""

    validation_share: float = 0.1
    """Share held out. Equal documents, stories with the same fields and functions of one package stay on one side."""

    split_seed: int = 1
    """Seeds the stories, the split and the order of the training documents."""

    def __post_init__(self) -> None:
        if self.path is not None and self.name is not None:
            raise ValueError("--data.path and --data.name exclude each other: give one of them")
        if not self.sources:
            raise ValueError("--data.sources needs at least one of stories, functions")
        if self.stories < 20:
            raise ValueError(f"--data.stories {self.stories} must be at least 20")
        if not 0 < self.min_function_characters < self.max_function_characters:
            raise ValueError(
                f"--data.min_function_characters {self.min_function_characters} must be above 0 and below "
                f"--data.max_function_characters {self.max_function_characters}"
            )
        if not self.separator.strip():
            raise ValueError("--data.separator is blank: it would cut every text into words")
        if self.max_documents is not None and self.max_documents < 2:
            raise ValueError(f"--data.max_documents {self.max_documents} must be at least 2")
        if not 0 < self.validation_share < 0.9:
            raise ValueError(f"--data.validation_share {self.validation_share} must be above 0 and below 0.9")
        if not 0 <= self.split_seed < 2**32:
            raise ValueError(f"--data.split_seed {self.split_seed} is outside 0 … {2**32 - 1}")


@dataclass(kw_only=True, frozen=True)
class TokenizerConfig:
    """Byte-level byte-pair encoding, trained on the training documents (Sennrich et al. 2016; Radford et al. 2019)."""

    vocabulary: int = 4096
    """Tokens, the 256 bytes and the special ones included. Fewer when the texts offer no more pairs."""

    min_frequency: int = 2
    """A pair of tokens is merged when it occurs at least this often."""

    def __post_init__(self) -> None:
        if self.vocabulary < 300:
            raise ValueError(f"--tokenizer.vocabulary {self.vocabulary} must be at least 300")
        if self.min_frequency < 1:
            raise ValueError(f"--tokenizer.min_frequency {self.min_frequency} must be at least 1")
