"""Parallel text for translation: read sentence pairs from files, hold parts of them out."""

from pathlib import Path

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import ParallelTextConfig
from transformer_from_scratch.corpus import read_text_file
from transformer_from_scratch.sequence_pairs import Pair, SequencePairs, hold_out, say


def load_parallel_text(config: ParallelTextConfig, seed: int) -> SequencePairs:
    """Read the training pairs, and validation and test pairs from files of their own or else from among them.

    Raises:
        UserError: no file is named, one cannot be read or paired, or too few pairs are left.
    """
    if config.path is None and config.source is None:
        raise UserError(
            "which sentences? Give a two-column file (source TAB target) with --data.path, or two files whose lines "
            "belong together with --data.source and --data.target"
        )
    train = read_pairs(config.path, config.source, config.target)
    given = {
        "validation": read_pairs(config.validation_path, config.validation_source, config.validation_target),
        "test": read_pairs(config.test_path, config.test_source, config.test_target),
    }
    shares = {"validation": config.validation_share, "test": config.test_share}
    from_train = [name for name, pairs in given.items() if not pairs]
    train, *held_out = hold_out(train, [shares[name] for name in from_train], seed)
    parts = given | dict(zip(from_train, held_out, strict=True))
    say_overlap(train, parts["test"])
    return SequencePairs(
        train=train,
        validation=parts["validation"],
        test=parts["test"],
        origin=" and ".join(path.name for path in (config.path, config.source, config.target) if path is not None),
    )


def read_pairs(path: Path | None, source: Path | None, target: Path | None) -> list[Pair]:
    """Sentence pairs of a two-column file or of two line-aligned files; none if neither is given.

    Pairs with an empty side are left out, and said on stderr.

    Raises:
        UserError: a file cannot be read or paired, or no pair is left.
    """
    if path is not None:
        pairs = read_columns(path)
    elif source is not None and target is not None:
        pairs = read_aligned(source, target)
    else:
        return []
    place = path or source
    stripped = [(left.strip(), right.strip()) for left, right in pairs]
    whole = [pair for pair in stripped if all(pair)]
    if not whole:
        raise UserError(f"{place}: no sentence pair in it: every line is empty on one side")
    if len(whole) < len(pairs):
        say(f"{place}: {len(pairs) - len(whole)} of {len(pairs)} pairs are empty on one side and left out")
    return whole


def read_columns(path: Path) -> list[Pair]:
    """The first two columns of a file of TAB-separated columns; an empty line is a pair of empty texts.

    Raises:
        UserError: the file cannot be read, or a line has no TAB.
    """
    pairs = []
    for number, line in enumerate(read_lines(path), start=1):
        source, tab, rest = line.partition("\t")
        if source.strip() and not tab:
            raise UserError(f"{path}, line {number}: no TAB between source and target: {line[:40]!r}")
        pairs.append((source, rest.partition("\t")[0]))
    return pairs


def read_aligned(source: Path, target: Path) -> list[Pair]:
    """Line n of one file with line n of the other.

    Raises:
        UserError: a file cannot be read, or the two have different numbers of lines.
    """
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {len(sources)} lines, but {target} has {len(targets)}: line n of one must translate line n "
            "of the other"
        )
    return list(zip(sources, targets, strict=True))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Only newlines end one: a U+2028 within a sentence must not shift all that follows."""
    return read_text_file(path).removesuffix("\n").split("\n")


def say_overlap(train: list[Pair], test: list[Pair]) -> None:
    """Tell how many test sentences were trained on: files of one's own are taken as they are."""
    known = {source for source, _ in train}
    n_known = sum(source in known for source, _ in test)
    if n_known:
        say(f"{n_known} of {len(test)} test sentences also stand among the training sentences")
