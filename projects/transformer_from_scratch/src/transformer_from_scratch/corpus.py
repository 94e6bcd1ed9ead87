"""Text for language models: read it, hold a part out, turn it into token ids, cut it into windows."""

import functools
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from roadmap_shared.errors import UserError
from roadmap_shared.offline.text import Text, python_reference
from transformer_from_scratch import tokenizers
from transformer_from_scratch.config import CorpusConfig
from transformer_from_scratch.tokenizers import Tokenizer

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".py", ".gz")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A text as token ids, cut into a training part and the validation part behind it."""

    train: Tensor
    """(N,) token ids."""

    validation: Tensor
    """(M,) token ids."""

    tokenizer: Tokenizer
    n_validation_characters: int
    n_validation_bytes: int
    origin: str


def load_corpus(config: CorpusConfig, context: int, special_tokens: tuple[str, ...] = ()) -> Corpus:
    """Read the text that `config` names, train its tokenizer and hold out the last share.

    A character tokenizer knows the symbols of the whole text (a list of symbols tells nothing about their order); BPE
    and WordPiece are trained on the training part alone.

    Raises:
        UserError: the text cannot be read, or a part of it is shorter than one window of `context` tokens.
    """
    source = read_source(config)
    text = source.text
    cut = int((1 - config.validation_share) * len(text))
    train_text, validation_text = text[:cut], text[cut:]
    alphabet_source = text if config.tokenizer == "character" else train_text
    if not train_text or not validation_text:
        raise UserError(f"{source.name}: {len(text)} characters are too few to train on and to hold some out")
    tokenizer = tokenizers.train(config.tokenizer, alphabet_source, config.vocabulary, special_tokens)
    train, validation = (torch.tensor(tokenizer.encode(part)) for part in (train_text, validation_text))
    for name, ids in (("training", train), ("validation", validation)):
        if len(ids) < context + 1:
            raise UserError(
                f"{source.name}: its {name} part has {len(ids)} tokens, but --model.context {context} needs at least "
                f"{context + 1}; give a longer text or a context of at most {max(1, len(ids) - 1)}"
            )
    return Corpus(
        train=train,
        validation=validation,
        tokenizer=tokenizer,
        n_validation_characters=len(validation_text),
        n_validation_bytes=len(validation_text.encode()),
        origin=source.origin,
    )


def read_source(config: CorpusConfig) -> Text:
    """The text by path, by hub id, or the built-in one."""
    if config.path is not None:
        return read_path(config.path)
    if config.name is not None:
        return read_hub(config.name, config.split, config.column)
    return python_reference()


def read_path(path: Path) -> Text:
    """A text file (UTF-8; gzip when it ends in .gz), or every such file below a folder in the order of their names.

    Raises:
        UserError: nothing there, nothing in it, or not text.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a UTF-8 text file or a folder of them with --data.path")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in TEXT_SUFFIXES and file.is_file())
        if not files:
            raise UserError(f"{path}: no text files in this folder (looked for {', '.join(TEXT_SUFFIXES)})")
        text = "\n\n".join(read_text_file(file) for file in files)
        return Text(name=str(path), text=text, origin=f"{len(files)} text files of the folder {path.name}.")
    return Text(name=str(path), text=read_text_file(path), origin=f"The file {path.name}.")


def read_text_file(path: Path) -> str:
    """The text of one UTF-8 file, unpacked if its name ends in .gz, without a byte-order mark."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path}: damaged gzip file; unpack it by hand to see how much of it is left") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if b"\0" in data:
        raise UserError(f"{path}: binary data (a zero byte at offset {data.index(0)}), not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}); convert it first, "
            "for example with iconv -f latin1 -t utf-8"
        ) from None
    if not text.strip():
        raise UserError(f"{path}: empty, there is nothing to train on")
    return text


def read_hub(name: str, split: str, column: str) -> Text:
    """One column of a data set on the Hugging Face hub, its rows joined by blank lines.

    Raises:
        UserError: `datasets` is not installed, the hub cannot be reached, or there is no such data set or column.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"--data.name {name} needs the package datasets: pip install -e 'projects/transformer_from_scratch[hub]'; "
            "without --data.name the built-in text is used"
        ) from None
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise UserError(
            f"--data.name {name}: cannot be loaded ({reason[0] if reason else type(error).__name__}); check the "
            "name and the network, or leave it out to use the built-in text"
        ) from error
    if column not in rows.column_names:
        raise UserError(
            f"--data.name {name}: no column '{column}'; --data.column can be {', '.join(rows.column_names)}"
        )
    text = "\n\n".join(rows[column])
    return Text(name=name, text=text, origin=f"The {split} split of {name} from the Hugging Face hub.")


def random_seed(*parts: int) -> int:
    """One seed from several numbers (run, step, process …); different numbers give unrelated seeds.

    Every random draw of a training step depends on the run's seed and the step's number alone. So a resumed run draws
    what the uninterrupted one would have drawn, with no generator state to save, and evaluating more often changes
    nothing.
    """
    seed = 0
    for part in parts:
        # The mixing step of SplitMix64 (Steele et al. 2014).
        seed = (seed + part + 0x9E3779B97F4A7C15) % 2**64
        seed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        seed = ((seed ^ (seed >> 27)) * 0x94D049BB133111EB) % 2**64
        seed ^= seed >> 31
    return seed % 2**63


class Windows:
    """Windows of `context` + 1 tokens, each epoch in a new order and cut at a new offset.

    Drawn without replacement: an epoch shows every token once. Which windows a step gets is a function of its number.

    Args:
        ids: (N,) token ids, at least `context` + 1.
        context: tokens a window, besides the last target.
        seed: of the run.
    """

    def __init__(self, ids: Tensor, context: int, seed: int) -> None:
        self.ids, self.context, self.seed = ids, context, seed
        # One window fewer than fit, where possible, leaves room for the offset.
        self.per_epoch = max(1, (len(ids) - 1) // context - 1)
        self.slack = len(ids) - 1 - self.per_epoch * context
        self.epoch_starts = functools.lru_cache(maxsize=2)(self._epoch_starts)

    def batch(self, step: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """(B, T) inputs and (B, T) targets, the inputs shifted by one, of this step."""
        number = torch.arange(step * batch_size, (step + 1) * batch_size)  # (B,) windows since the start of training
        epochs, places = number // self.per_epoch, number % self.per_epoch
        starts = torch.stack([self.epoch_starts(e)[p] for e, p in zip(epochs.tolist(), places.tolist(), strict=True)])
        window = self.ids[starts[:, None] + torch.arange(self.context + 1)]  # (B, T + 1)
        return window[:, :-1], window[:, 1:]

    def _epoch_starts(self, epoch: int) -> Tensor:
        """(per_epoch,) first tokens of the windows of an epoch, shuffled."""
        generator = torch.Generator().manual_seed(random_seed(self.seed, epoch))
        offset = torch.randint(min(self.slack, self.context) + 1, (), generator=generator)
        return torch.randperm(self.per_epoch, generator=generator) * self.context + offset
