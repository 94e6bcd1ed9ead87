"""Which texts a model is trained, calibrated and measured on."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class DataConfig:
    """Labelled texts: the built-in ones, files, or a data set on the hub."""

    domains: tuple[Literal["films", "products", "tweets"], ...] = ("films", "products", "tweets")
    """Domains of the built-in texts."""

    path: Path | None = None
    """File (.csv, .tsv, .jsonl, .parquet) or folder instead: train, validation and test files, one folder of .txt files
    a label, or files with one text a line that end in .pos and .neg."""

    name: str | None = None
    """Data set on the Hugging Face hub instead, such as stanfordnlp/imdb."""

    text_column: str = "text"
    """Column or key of the text."""

    label_column: str = "label"
    """Column or key of the label."""

    encoding: str = "utf-8"
    """Encoding of the files, such as utf-8, cp1252 or gb18030."""

    validation_share: float = 0.1
    """Share of the training texts held out for validation where the data has no validation part."""

    test_share: float = 0.2
    """Share of all texts held out for the test where the data has no test part."""

    split_seed: int = 1
    """Seeds the split. It is drawn within each label, and equal texts stay on one side."""

    max_examples: int | None = None
    """At most this many texts of each part. None: all."""

    def __post_init__(self) -> None:
        if self.path is not None and self.name is not None:
            raise ValueError("--data.path and --data.name exclude each other: give one of them")
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 0.9:
                raise ValueError(f"--data.{name} {getattr(self, name)} must be above 0 and below 0.9")
        if self.max_examples is not None and self.max_examples < 10:
            raise ValueError(f"--data.max_examples {self.max_examples} must be at least 10")
        if not self.domains:
            raise ValueError("--data.domains needs at least one value")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"--data.encoding {self.encoding} is unknown: try utf-8, cp1252 or gb18030") from None
