"""How a trained classifier is used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(kw_only=True, frozen=True)
class PredictConfig:
    """`predict`: label texts with a trained model."""

    texts: Positional[tuple[str, ...]] = ()
    """Texts to label, each in quotes."""

    input: Path | None = None
    """File to label instead: .csv, .tsv, .jsonl, or .txt with one text a line."""

    output: Path | None = None
    """Where the labelled file goes; a file of that name is replaced. None: next to the input, as
    NAME.predictions.EXT."""

    text_column: str | None = None
    """Column of the file with the text. None: the first of text, sentence, review, content, tweet, comment that is
    there, in upper or lower case."""

    model: str = "latest"
    """A run folder or its name, a model folder, or `latest` for the newest run that has a model."""

    explain: bool = False
    """Colour each word by how much it speaks for the label (integrated gradients); for texts, not for files."""

    unsure_below: float = 0.0
    """Probability of the best label below which the answer is `unsure`; 0 always decides."""

    batch_size: int = 32
    """Texts a forward pass."""

    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""

    restart: bool = False
    """Label a file from its beginning even where an interrupted run has left a part."""

    root: Path = Path("runs")
    """Folder that holds the runs. A relative one is looked for here, in the folders above, and in the checkout that
    this package runs from."""

    def __post_init__(self) -> None:
        if bool(self.texts) == (self.input is not None):
            raise ValueError('give texts, as in: predict "I liked it", or a file with --input; one of the two')
        if self.input is not None and self.explain:
            raise ValueError("--explain is for texts; leave it out with --input")
        if self.input is None:
            for name, given in (
                ("output", self.output is not None),
                ("text_column", self.text_column is not None),
                ("restart", self.restart),
            ):
                if given:
                    raise ValueError(f"--{name} goes with --input: give a file, or leave --{name} out")
        if not 0 <= self.unsure_below <= 1:
            raise ValueError(f"--unsure_below {self.unsure_below} must lie between 0 and 1")
        if self.batch_size < 1:
            raise ValueError(f"--batch_size {self.batch_size} must be at least 1")
