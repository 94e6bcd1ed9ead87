"""`rag-qa evaluate`: retrieval and answers on questions with known answers, one configuration or two."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rag_qa.cli import CONFIGS
from rag_qa.commands.measured_tables import comparison_lines, measured_lines
from rag_qa.config import EvaluateConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import existing_database
from rag_qa.evaluation.comparison import Comparison
from rag_qa.evaluation.evaluation_set import EvaluationSet
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.studies.data_sets import index_of, is_yaml, load_data_set, questions_about
from rag_qa.studies.measuring import Measured, compare_measured, measure
from roadmap_shared.config import config_differences, parse_config
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write


def run(config: EvaluateConfig) -> None:
    """Measure, print the tables, and write the figures of each question.

    Raises:
        UserError: the data set, the index or a config is missing or wrong; what can be known before anything is
            measured is told before.
    """
    configs = checked(config)
    own = None if is_yaml(config.path) else load_data_set(config.path, config.evaluation.split)
    sets: list[EvaluationSet] = []
    measured: list[Measured] = []
    with ExitStack() as stack:
        index = stack.enter_context(open_index(config, own))
        for one in configs:
            if not alike(one, config):
                index = stack.enter_context(open_index(one, own))
            sets.append((own or questions_about(index, one.path, "test")).first(config.evaluation.limit))
            announce(sets[-1], index, one, config)
            measured.append(measure(index, sets[-1], one, unit="documents" if own else None))
            print("\n".join(measured_lines(measured[-1], one)))
    compared = compare_measured(measured[0], measured[1], config.evaluation) if len(measured) == 2 else []
    texts = {question.id: question.text for question in sets[0].questions}
    for comparison in compared:
        print("\n".join(comparison_lines(comparison, texts)))
    if config.output is not None:
        atomic_write(config.output, records(sets[0], measured, compared))
        print(f"figures of each question: {config.output}")


def alike(one: EvaluateConfig, other: EvaluateConfig) -> bool:
    """Whether both search the same index."""
    return (one.index, one.encoder, one.chunking, one.sparse) == (
        other.index, other.encoder, other.chunking, other.sparse
    )  # fmt: skip


def checked(config: EvaluateConfig) -> list[EvaluateConfig]:
    """The configurations to measure. Raises UserError: a path is missing or goes with another."""
    if config.output is not None and not config.output.absolute().parent.is_dir():
        raise UserError(f"--output {config.output}: there is no folder {config.output.parent}")
    configs = [config]
    if config.against is not None:
        if not config.against.is_file():
            raise UserError(f"--against {config.against}: no such file")
        configs.append(second(config, config.against))
    if not config.path.exists():
        raise UserError(f"{config.path}: no such file or folder")
    for one in configs:
        if is_yaml(config.path):
            if one.index is None:
                raise UserError(f"{config.path}: say by --index which index these questions are about")
            existing_database(one.index)
        elif one.index is not None:
            raise UserError(f"--index goes with questions in YAML; {config.path} has documents of its own")
    return configs


def second(config: EvaluateConfig, path: Path) -> EvaluateConfig:
    """The other configuration: the file says how to search and answer, the first one what is measured.

    Raises:
        UserError: the file is no config of this command.
    """
    other = parse_config(
        EvaluateConfig,
        ["--config", str(path), "--", str(config.path)],
        prog="rag-qa evaluate",
        description="",
        configs=CONFIGS,
        default=None,
    )
    return replace(
        other,
        path=config.path,
        index=other.index or config.index,
        against=config.against,
        output=config.output,
        answers=config.answers,
        evaluation=config.evaluation,
    )


def open_index(config: EvaluateConfig, data: EvaluationSet | None) -> Index:
    """An index in memory of the data set, or without one the user's. Raises UserError: another encoder made it."""
    encoder = build_encoder(config.encoder)
    if data is not None:
        return index_of(data, encoder, config.chunking, config.embedding_cache, config.sparse)
    assert config.index is not None
    return Index.open(config.index, encoder, config.store)


def announce(data: EvaluationSet, index: Index, config: EvaluateConfig, first: EvaluateConfig) -> None:
    """Say what is measured: the data of the first configuration, and by what the second differs from it."""
    if config is not first:
        print(f"\n{config.against}: {'; '.join(config_differences(first, config)) or 'the same settings'}")
        return
    unanswerable = sum(not question.answerable for question in data.questions)
    print(
        f"{data.name}: {len(data.documents)} documents in {len(index.store.ids())} chunks, {len(data.questions)} "
        f"questions" + (f", {unanswerable} of them unanswerable" if unanswerable else "")
    )
    for note in data.notes:
        print(f"  note: {note}")


def records(data: EvaluationSet, measured: Sequence[Measured], compared: Sequence[Comparison]) -> str:
    """One JSON line a question: its figures under `first` and `second`, and whether the second one is better."""
    figures = [one.by_question() for one in measured]
    lines = []
    for question in data.questions:
        record: dict[str, Any] = {"id": question.id, "question": question.text, "kind": question.kind}
        for name, found in zip(("first", "second"), figures, strict=False):
            record[name] = found.get(question.id, {})
        if compared:
            record["second_is"] = {one.metric: verdict(one, question.id) for one in compared}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    return "".join(lines)


def verdict(comparison: Comparison, question_id: str) -> str:
    """`better`, `worse` or `equal`; questions that have no such score are equal."""
    if question_id in comparison.wins:
        return "better"
    return "worse" if question_id in comparison.losses else "equal"
