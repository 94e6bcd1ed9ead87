"""Which files of a folder hold which part of the data, and the texts of folders that are no tables.

Three forms are known: one folder a class with a .txt file a text (aclImdb), two files of which one holds the positive
and one the negative texts, one a line (rt-polarity), and files called train, dev and test. The first two may stand in
folders called train, dev and test.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from bert_sentiment.config import DataConfig
from bert_sentiment.data.encodings import missing, open_text, suffix_of
from bert_sentiment.data.labelled import TOO_LONG, LabelledText, Part, file_texts, label_names, labelled
from bert_sentiment.data.lines import Lines
from bert_sentiment.data.readers import TABLE_SUFFIXES
from bert_sentiment.data.types import MAX_CHARACTERS, Reject
from roadmap_shared.errors import UserError

_PARTS = {
    "train": re.compile(r"train(ing)?(?![a-z])", re.IGNORECASE),
    "validation": re.compile(r"(val|valid|validation|dev)(?![a-z])", re.IGNORECASE),
    "test": re.compile(r"test(ing)?(?![a-z])", re.IGNORECASE),
}
_POLARITY = re.compile(r"(?<![a-z])(pos|neg)(?:itive|ative)?(?![a-z])", re.IGNORECASE)
_FULL_NAMES = {"pos": "positive", "neg": "negative", "neu": "neutral"}
_WITHOUT_LABELS = "unsup"  # of aclImdb


def path_parts(path: Path, config: DataConfig, log: Callable[[str], None]) -> dict[str, Part]:
    """The parts (`train`, and `validation` and `test` where they are told apart) of a file or folder.

    Raises:
        UserError: there is nothing, or nothing that can be used.
    """
    if not path.exists():
        raise missing(path)
    if not path.is_dir():
        if suffix_of(path) in (".pos", ".neg"):
            raise UserError(f"{path}: is one half of two files: give their folder, --data.path {path.parent}")
        return {"train": _table_part([path], path.name, config, log)}
    if folders := _named_parts([entry for entry in path.iterdir() if entry.is_dir()]):
        return {
            name: part for name, (folder, *_) in folders.items() if (part := _folder_part(folder, path, config, log))
        } or _unknown(path)
    if part := _folder_part(path, path, config, log):
        return {"train": part}
    if files := _named_parts(_tables(path)):
        return {name: _table_part(paths, _name_of(paths), config, log) for name, paths in files.items()}
    return _unknown(path)


def _named_parts(entries: list[Path]) -> dict[str, list[Path]]:
    """Entries by the part that their name begins with. Empty without a training part."""
    found = {name: sorted(entry for entry in entries if pattern.match(entry.name)) for name, pattern in _PARTS.items()}
    return {name: paths for name, paths in found.items() if paths} if found["train"] else {}


def _tables(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and suffix_of(entry) in TABLE_SUFFIXES)


def _name_of(paths: list[Path]) -> str:
    return paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"


def _table_part(paths: list[Path], name: str, config: DataConfig, log: Callable[[str], None]) -> Part:
    part = Part(name)
    for path in paths:
        part.add(file_texts(path, config, log))
    return part


def _folder_part(folder: Path, root: Path, config: DataConfig, log: Callable[[str], None]) -> Part | None:
    """The texts of class folders or of the two-file form; None when the folder is neither."""
    part = Part(f"{root.name}/{folder.name}" if folder != root else folder.name)
    classes = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and next(entry.glob("*.txt"), None)]
    if _WITHOUT_LABELS in (entry.name for entry in classes):
        log(f"{part.name}/{_WITHOUT_LABELS}: texts without labels, left out")
        classes = [entry for entry in classes if entry.name != _WITHOUT_LABELS]
    halves = {"positive": [], "negative": []}
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and (found := _POLARITY.search(entry.name)):
            halves[_FULL_NAMES[found[1].lower()]].append(entry)
    if classes:
        for entry in classes:
            part.add(_class_folder(entry, config, log))
    elif all(len(files) == 1 for files in halves.values()):
        for files in halves.values():
            part.add(_half(files[0], config, log))
    else:
        return None
    return part


def _class_folder(folder: Path, config: DataConfig, log: Callable[[str], None]) -> Iterator[LabelledText | Reject]:
    """One text a file; the folder's name is the label. `pos` and `neg` are called positive and negative."""
    names = label_names(config)
    label = folder.name if names else _FULL_NAMES.get(folder.name, folder.name)
    for path in sorted(folder.glob("*.txt")):
        source = f"{folder.name}/{path.name}"
        size = path.stat().st_size
        if size == 0:
            yield Reject(source, "empty text")
        elif size > 4 * MAX_CHARACTERS:  # more bytes than as many characters can have
            yield Reject(source, TOO_LONG)
        else:
            with open_text(path, log) as file:
                yield labelled(file.read(), label, source, names)


def _half(path: Path, config: DataConfig, log: Callable[[str], None]) -> Iterator[LabelledText | Reject]:
    """One text a line; the file's name tells the label, which a label map calls pos or neg."""
    names = label_names(config)
    found = _POLARITY.search(path.name)
    assert found
    label = found[1].lower() if names else _FULL_NAMES[found[1].lower()]
    with open_text(path, log) as file:
        for line in Lines(file).not_blank():
            yield labelled(line.text, label, f"{path.name}:{line.number}", names)


def _unknown(folder: Path) -> dict[str, Part]:
    # A .txt beside the data is most often its description.
    tables = sorted(_tables(folder), key=lambda path: suffix_of(path) == ".txt")
    hint = f" Give one of its files, as in --data.path {tables[0]}" if tables else ""
    raise UserError(
        f"{folder}: holds neither one folder a class with .txt files, nor a .pos and a .neg file, nor files called "
        f"train and test.{hint}"
    )
