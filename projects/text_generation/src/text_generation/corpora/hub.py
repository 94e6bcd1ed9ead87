"""Data sets of the Hugging Face hub. The only module here that needs the library `datasets`, imported on use."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from roadmap_shared.errors import UserError, one_line
from text_generation.config.data import CorpusConfig
from text_generation.corpora.readers import table_documents
from text_generation.corpora.types import Document, Reject

_OFFLINE_CHOICE = "Offline, leave out --data.name for the built-in texts, or give a file with --data.path"


def read_hub(config: CorpusConfig) -> Iterator[Document | Reject]:
    """The documents of one part of `config.name`.

    Raises:
        UserError: the data set cannot be had, or has no such part or column.
    """
    rows = _load(config)
    wanted = islice(rows, config.max_documents)
    yield from table_documents(enumerate(wanted, start=1), config.text_column, f"{config.name} ({config.split})")


def _load(config: CorpusConfig) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError

    name = f"--data.name {config.name}"
    try:
        return datasets.load_dataset(str(config.name), config.subset, split=config.split)
    except (ConnectionError, FileNotFoundError) as error:
        raise UserError(f"{name}: the hub does not answer or has no such data set. {_OFFLINE_CHOICE}") from error
    except ValueError as error:
        # The library lists the configurations or splits in this message: it is the remedy.
        raise UserError(f"{name}: {one_line(error)} Choose with --data.subset and --data.split") from error
    except (OSError, RuntimeError, DatasetsError) as error:
        raise UserError(f"{name}: cannot be loaded: {one_line(error)}. {_OFFLINE_CHOICE}") from error
