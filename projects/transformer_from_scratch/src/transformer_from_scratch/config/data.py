"""What each task is trained and tested on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TokenizerName = Literal["character", "bpe", "wordpiece"]


@dataclass(kw_only=True, frozen=True)
class CorpusConfig:
    """The text of a language model."""

    path: Path | None = None
    """Text file (.txt or any UTF-8 text, .gz too) or a folder of them. None: the Python language reference."""

    name: str | None = None
    """Data set on the Hugging Face hub instead, such as roneneldan/TinyStories (needs the extra `hub`)."""

    split: str = "train"
    """Split of the hub data set."""

    column: str = "text"
    """Column of the hub data set that holds the text."""

    tokenizer: TokenizerName = "character"
    """Tokens: characters, byte-level BPE, or WordPiece, trained on the training part."""

    vocabulary: int = 2048
    """Number of tokens of a BPE or WordPiece tokenizer."""

    validation_share: float = 0.1
    """Last share of the text, held out for validation."""

    def __post_init__(self) -> None:
        if self.path is not None and self.name is not None:
            raise ValueError("--data.path and --data.name exclude each other: give one of them")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"--data.validation_share {self.validation_share} must be between 0 and 1")


@dataclass(kw_only=True, frozen=True)
class MaskingConfig:
    """Which tokens a masked language model has to guess (Devlin et al. 2019, §3.1)."""

    share: float = 0.15
    """Share of tokens to guess."""

    masked: float = 0.8
    """Share of those shown as <mask>."""

    replaced: float = 0.1
    """Share of those shown as a random other token; the rest stays as it is."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"--masking.share {self.share} must be between 0 and 1")
        if self.masked < 0 or self.replaced < 0 or self.masked + self.replaced > 1:
            raise ValueError("--masking.masked and --masking.replaced are shares that sum to at most 1")


@dataclass(kw_only=True, frozen=True)
class DateDataConfig:
    """Written dates, generated."""

    n_train: int = 100_000
    """Written dates to train on, drawn anew from the training dates and the forms."""

    n_validation: int = 500
    """Written dates that the validation loss is measured on, of dates that are neither trained nor tested on."""

    n_test: int = 4000
    """Written dates to test on, of dates that occur nowhere else, each form equally often."""

    held_out_share: float = 0.1
    """Share of the 73,049 dates from 1900 to 2099 that is tested on; half as many again are for validation."""

    batch_tokens: int = 2048
    """Sequences × length of the longest source or target that a step's batch holds at most. The number of its
    sequences is a multiple of --trainer.batch_size."""

    def __post_init__(self) -> None:
        for name in ("n_train", "n_validation", "n_test"):
            if getattr(self, name) < 1:
                raise ValueError(f"--data.{name} {getattr(self, name)} must be at least 1")
        if not 0.01 <= self.held_out_share <= 0.5:
            raise ValueError(f"--data.held_out_share {self.held_out_share} must be between 0.01 and 0.5")


@dataclass(kw_only=True, frozen=True)
class ParallelTextConfig:
    """Sentence pairs: a two-column file, or two files whose lines belong together; gzip where the name ends in .gz."""

    path: Path | None = None
    """Two columns with a TAB between, source and target; further columns are ignored."""

    source: Path | None = None
    """Sentences of the source language, one a line, instead of --data.path."""

    target: Path | None = None
    """Their translations, line by line."""

    validation_path: Path | None = None
    """Validation pairs as two columns. Without validation files, a share of the pairs is held out."""

    validation_source: Path | None = None
    """Source sentences of the validation pairs."""

    validation_target: Path | None = None
    """Their translations, line by line."""

    test_path: Path | None = None
    """Test pairs as two columns. Without test files, a share of the pairs is held out."""

    test_source: Path | None = None
    """Source sentences of the test pairs."""

    test_target: Path | None = None
    """Their translations, line by line."""

    validation_share: float = 0.02
    """Share of the source sentences that is held out for validation."""

    test_share: float = 0.05
    """Share of the source sentences that is held out for the test."""

    vocabulary: int = 3000
    """Tokens of the byte-level BPE that both languages share."""

    batch_tokens: int = 4096
    """Sequences × length of the longest source or target that a step's batch holds at most. The number of its
    sequences is a multiple of --trainer.batch_size."""

    def __post_init__(self) -> None:
        for part in ("", "validation_", "test_"):
            path, source, target = (getattr(self, f"{part}{name}") for name in ("path", "source", "target"))
            if path is not None and (source is not None or target is not None):
                raise ValueError(
                    f"--data.{part}path and --data.{part}source/--data.{part}target exclude each other: give one or "
                    "the other"
                )
            if (source is None) != (target is None):
                missing = "target" if target is None else "source"
                raise ValueError(f"--data.{part}source and --data.{part}target go together: give {missing} too")
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"--data.{name} {getattr(self, name)} must be above 0 and below 0.5")
