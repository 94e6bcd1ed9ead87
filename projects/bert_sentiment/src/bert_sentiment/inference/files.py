"""Label a file of any size: in chunks, with a progress bar, and from where it stopped when it was interrupted."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bert_sentiment.data.encodings import TextFile, examine, suffix_of
from bert_sentiment.inference.predictor import Predictor, unusable
from bert_sentiment.inference.resumable import Done, ResumableOutput, Say, resumable_output
from bert_sentiment.inference.tables import OUTPUT_ENDINGS, Row, Table, open_table
from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress

CHUNK_ROWS = 512
"""Records that are labelled and saved together: all that a kill can cost, and enough to form batches by length."""

CHUNK_CHARACTERS = 8_000_000
"""A chunk ends with the record that exceeds this, so that long texts do not fill the memory."""


@dataclass(frozen=True)
class FileResult:
    """What became of a file."""

    output: Path
    rejects: Path | None
    """None where every record was labelled."""

    counts: dict[str, int]
    """Records with each label, `unsure` included, the most frequent first."""

    n_rejected: int
    text_column: str
    """Where the texts stand, as the output's header spells it."""

    @property
    def n_labelled(self) -> int:
        return sum(self.counts.values())


def tell(message: str) -> None:
    """Print a line for the user beside the result."""
    print(message, file=sys.stderr)


def predict_file(
    predictor: Predictor,
    source: Path,
    output: Path | None = None,
    *,
    text_column: str | None = None,
    batch_size: int = 32,
    restart: bool = False,
    say: Say = tell,
) -> FileResult:
    """Write a copy of a file with the columns `predicted_label` and `predicted_probability` behind the others.

    Records that have no usable text go to `NAME.rejects.jsonl` with their number, line and reason. The output has its
    name only when it is whole. An interrupted call is continued by the next one, with the same bytes as a result as if
    it had not been interrupted, unless the input, the model, the threshold or the text column differ. The batch size
    and the device may differ: they change a probability by rounding only.

    Args:
        predictor: labels the texts.
        source: a .csv, .tsv, .jsonl or .txt file, or one of these packed as .gz, in any encoding that training reads
            (`data.encodings`). The output is not packed, and in UTF-8.
        output: None for `NAME.predictions.EXT` beside the source; .csv for a .txt file.
        text_column: None for the first of `TEXT_COLUMNS` that is there, in upper or lower case.
        batch_size: texts a forward pass.
        restart: start from the beginning in any case.
        say: takes one line for the user: what was assumed, and what is continued.

    Raises:
        UserError: the source cannot be read or has no text column, or the output cannot be written.
    """
    output, rejects = _places(source, output)
    found = examine(source)
    table = open_table(found, text_column)
    if found.encoding.remark:
        say(f"{source}: {found.encoding.remark}")
    if not found.encoding.is_utf8:
        say(f"{output}: is written in UTF-8")
    settings = _settings(predictor, found, table)
    n_rows = sum(1 for _ in table.rows())
    if not n_rows:
        say(f"{source}: holds no records, so there is nothing to label and {output} has none either")
    with resumable_output(output, rejects, settings, table.header(), restart=restart, say=say) as files:
        done = files.done
        try:
            with progress(n_rows, "labelling", "text", done=done.rows) as bar:
                for chunk in chunks(islice(table.rows(), done.rows, None)):
                    _label(chunk, predictor, table, batch_size, files)
                    bar.update(len(chunk))
        except KeyboardInterrupt:
            say(f"{output}: stopped behind record {done.rows} of {n_rows}; the same command continues there")
            raise
        files.publish()
    return FileResult(
        output=output,
        rejects=rejects if done.rejected else None,
        counts=dict(done.counts.most_common()),
        n_rejected=done.rejected,
        text_column=table.text_column,
    )


def chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in groups of `CHUNK_ROWS`, fewer where the texts are very long. Where a group ends depends on the rows
    before it alone, so that a continued run forms the same groups."""
    chunk: list[Row] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += sum(map(len, row.content)) if isinstance(row.content, list) else len(row.content)
        if len(chunk) == CHUNK_ROWS or characters > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _label(chunk: list[Row], predictor: Predictor, table: Table, batch_size: int, files: ResumableOutput) -> None:
    preprocessing = predictor.model.preprocessing
    checked = [(row, row.reason or unusable(row.text, preprocessing)) for row in chunk]
    good = [row for row, reason in checked if reason is None]
    bad = [{"row": row.number, "line": row.line, "reason": reason} for row, reason in checked if reason is not None]
    predictions = predictor.predict([row.text for row in good], batch_size) if good else []
    labelled = [table.labelled(row, prediction) for row, prediction in zip(good, predictions, strict=True)]
    counts = Counter(prediction.label for prediction in predictions)
    files.append(
        "".join(labelled),
        "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in bad),
        Done(rows=len(chunk), rejected=len(bad), counts=counts),
    )


def _places(source: Path, output: Path | None) -> tuple[Path, Path]:
    """Where the labelled file and the rejects go."""
    if not source.is_file():
        what = "is a folder: name a file" if source.is_dir() else "does not exist"
        raise UserError(f"--input {source}: {what}")
    ending = OUTPUT_ENDINGS.get(suffix_of(source))
    if ending is None:
        endings = ", ".join(OUTPUT_ENDINGS)
        raise UserError(f"{source}: ends in '{source.suffix}'; files that can be labelled end in {endings}")
    if output is None:
        stem = Path(source.stem).stem if source.suffix == ".gz" else source.stem
        output = source.with_name(f"{stem}.predictions{ending}")
    elif output.suffix.lower() != ending:
        raise UserError(f"--output {output}: must end in {ending}, since the input ends in {suffix_of(source)}")
    if output.exists() and output.samefile(source):
        raise UserError(f"--output {output}: is the input: choose another name")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder: name a file")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: the folder {output.parent} does not exist")
    rejects = output.with_name(f"{output.stem.removesuffix('.predictions')}.rejects.jsonl")
    if rejects.exists() and rejects.samefile(source):
        raise UserError(f"--output {output}: its rejects would replace the input {source}: choose another name")
    return output, rejects


def _settings(predictor: Predictor, found: TextFile, table: Table) -> dict[str, str | float]:
    """All that decides what the output says, under the names that a message gives them."""
    return {
        "the input": found.sha256,
        "the model": predictor.fingerprint(),
        "the text column": table.text_column,
        "--unsure_below": predictor.unsure_below,
    }
