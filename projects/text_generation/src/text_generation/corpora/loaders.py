"""Documents for training and validation: the built-in ones, files and folders, or a hub data set.

```python
corpus = load_corpus(CorpusConfig(path=Path("stories.jsonl")), announce=print)
```
"""

import platform
from collections.abc import Iterable

from roadmap_shared.errors import UserError
from text_generation.config.data import CorpusConfig
from text_generation.corpora.functions import function_documents, without_near_copies
from text_generation.corpora.hub import read_hub
from text_generation.corpora.readers import Announce, read_path
from text_generation.corpora.splitting import split_documents, text_group
from text_generation.corpora.stories.writer import write_stories
from text_generation.corpora.types import Corpus, Document, Reject, rejected_line

_MIN_CHARACTERS_TO_CUT = 200


def load_corpus(config: CorpusConfig, announce: Announce = lambda _: None) -> Corpus:
    """The documents that `config` names, with a part held out.

    Args:
        config: what to load and how to split it.
        announce: is told in one line each what was read and what was left out.

    Raises:
        UserError: there are no documents, or too few to hold some out.
    """
    is_built_in = config.path is None and config.name is None
    corpus = _built_in(config) if is_built_in else _from_elsewhere(config, announce)
    announce(
        f"{corpus.origin} {len(corpus.train):,} documents to train on ({_size(corpus.train)}), "
        f"{len(corpus.validation):,} held out ({_size(corpus.validation)})."
    )
    return corpus


def _built_in(config: CorpusConfig) -> Corpus:
    documents: list[Document] = []
    origins: list[str] = []
    if "stories" in config.sources:
        stories = story_documents(config.stories, config.split_seed)
        documents += stories
        origins.append(f"{len(stories):,} stories that a grammar wrote by seed {config.split_seed}.")
    if "functions" in config.sources:
        functions = function_documents(config.min_function_characters, config.max_function_characters)
        documents += functions
        origins.append(
            f"{len(functions):,} documented functions of the standard library of CPython "
            f"{platform.python_version()} (PSF licence), whole packages held out."
        )
    train, validation = split_documents(documents, config.validation_share, config.split_seed)
    held_functions = [document for document in validation if document.kind == "function"]
    kept = {id(document) for document in without_near_copies(held_functions, _functions(train))}
    validation = [document for document in validation if document.kind != "function" or id(document) in kept]
    return Corpus(tuple(train), tuple(validation), " ".join(origins))


def _functions(documents: Iterable[Document]) -> list[Document]:
    return [document for document in documents if document.kind == "function"]


def story_documents(count: int, seed: int) -> list[Document]:
    """Stories with their headers. Those with the same fields are one group, so that held-out fields are new ones."""
    return [
        Document(story.document, "story", f"stories:{number}", story.fields.header)
        for number, story in enumerate(write_stories(count, seed), start=1)
    ]


def _from_elsewhere(config: CorpusConfig, announce: Announce) -> Corpus:
    """Documents of a path or a hub data set."""
    where = f"--data.name {config.name}" if config.path is None else str(config.path)
    found = read_hub(config) if config.path is None else read_path(config.path, config.separator, config.text_column)
    documents: list[Document] = []
    rejects: list[Reject] = []
    for item in found:
        if isinstance(item, Reject):
            rejects.append(item)
        elif config.max_documents is None or len(documents) < config.max_documents:
            documents.append(item)
        else:
            break
    if rejects:
        announce(f"{where}: {rejected_line(rejects)}")
    if not documents:
        reason = f": {rejected_line(rejects)}" if rejects else ""
        raise UserError(f"{where}: holds no document that can be used{reason}")
    if len(documents) == 1:
        documents = _cut(documents[0], config.validation_share)
        train, validation = documents[:1], documents[1:]
    else:
        if len({document.group for document in documents}) == 1:
            raise UserError(f"{where}: its {len(documents):,} documents are all equal, none can be held out")
        train, validation = split_documents(documents, config.validation_share, config.split_seed)
    origin = f"{len(train) + len(validation):,} documents of {config.path.name if config.path else config.name}."
    return Corpus(tuple(train), tuple(validation), origin, tuple(rejects))


def _cut(document: Document, share: float) -> list[Document]:
    """A single text in two, at the end of the line nearest behind the share, or within it if it has no lines."""
    text = document.text
    if len(text) < _MIN_CHARACTERS_TO_CUT:
        raise UserError(
            f"{document.source}: one document of {len(text)} characters is too short to hold a part out: give "
            f"several, with --data.separator between them, or {_MIN_CHARACTERS_TO_CUT} characters at least"
        )
    wanted = int((1 - share) * len(text))
    line_end = text.find("\n", wanted) + 1
    cut = line_end if 0 < line_end < len(text) else wanted
    return [
        Document(part, document.kind, f"{document.source} ({side})", text_group(part))
        for part, side in ((text[:cut], "beginning"), (text[cut:], "end"))
    ]


def _size(documents: Iterable[Document]) -> str:
    return f"{sum(len(document.text.encode()) for document in documents) / 1e6:.2f} MB"
