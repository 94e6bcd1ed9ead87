"""Which texts a model is trained and tested on, and what is done to them first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class DataConfig:
    """Texts with labels: the built-in ones, files, or a data set on the hub."""

    domains: tuple[Literal["films", "products", "tweets"], ...] = ("films", "products", "tweets")
    """Domains of the built-in texts to train on; the test is on all three."""

    languages: tuple[Literal["en", "zh"], ...] = ("en",)
    """Languages of the built-in texts."""

    path: Path | None = None
    """File (.csv, .tsv, .jsonl, .json, .parquet, .txt with the label first on a line; .gz too) or folder instead: one
    folder a class, files ending in .pos and .neg, or train, dev and test files."""

    validation_path: Path | None = None
    """Validation texts in the same form. None: a share of the training texts."""

    test_path: Path | None = None
    """Test texts in the same form. None: a share of all texts."""

    name: str | None = None
    """Data set on the Hugging Face hub instead, such as stanfordnlp/imdb."""

    subset: str | None = None
    """Configuration of the hub data set, such as `sentiment` of cardiffnlp/tweet_eval."""

    text_column: str | None = None
    """Column with the text. None: the first of text, sentence, review, content, tweet, comment that is there, in
    upper or lower case. A number where the file has no header."""

    label_column: str | None = None
    """Column with the label. None: the first of label, sentiment, polarity, class, rating, stars that is there, in
    upper or lower case. A number where the file has no header."""

    label_map: tuple[str, ...] = ()
    """What the file's labels are called: 0=negative 4=positive. Labels that are not named are rejected.
    Without it they are called as in the file."""

    validation_share: float = 0.1
    """Share of the training texts held out for validation where no validation texts are given."""

    test_share: float = 0.2
    """Share of all texts held out for the test where no test texts are given."""

    split_seed: int = 1
    """Seeds the split. It is drawn within each label, and equal texts stay on one side."""

    max_examples: int | None = None
    """At most this many texts of each part, drawn by the split's seed. None: all."""

    def __post_init__(self) -> None:
        if self.path is not None and self.name is not None:
            raise ValueError("--data.path and --data.name exclude each other: give one of them")
        if self.path is None and (self.validation_path is not None or self.test_path is not None):
            raise ValueError("--data.validation_path and --data.test_path go with --data.path: give it too")
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 0.9:
                raise ValueError(f"--data.{name} {getattr(self, name)} must be above 0 and below 0.9")
        if not self.domains or not self.languages:
            raise ValueError("--data.domains and --data.languages need at least one value each")
        if wrong := [pair for pair in self.label_map if not all(pair.partition("=")[::2])]:
            raise ValueError(f"--data.label_map {wrong[0]}: write it as file_label=name, as in 0=negative 4=positive")
        if self.max_examples is not None and self.max_examples < 10:
            raise ValueError(f"--data.max_examples {self.max_examples} must be at least 10")
        if not 0 <= self.split_seed < 2**32:
            raise ValueError(f"--data.split_seed {self.split_seed} is outside 0 … {2**32 - 1}")


@dataclass(kw_only=True, frozen=True)
class PreprocessingConfig:
    """What is done to a text before the model sees it. A trained model keeps these settings and applies them again."""

    html: bool = True
    """Replace tags by blanks and entities by their characters."""

    urls: Literal["keep", "token"] = "token"
    """token: every address becomes `http`, as in TweetEval."""

    mentions: Literal["keep", "token"] = "token"
    """token: every @name becomes `@user`, as in TweetEval."""

    elongation: bool = True
    """Shorten a letter or mark that is repeated more than three times to three: soooooo → sooo."""

    max_length: int = 128
    """Tokens of a text that the model sees, its special tokens included."""

    truncation: Literal["head", "tail", "head_tail"] = "head"
    """Which tokens of a longer text: its beginning, its end, or a quarter of the beginning and three of the end (Sun
    et al. 2019, "How to Fine-Tune BERT for Text Classification", §5.3.1)."""

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise ValueError(f"--preprocessing.max_length {self.max_length} must be at least 8")
