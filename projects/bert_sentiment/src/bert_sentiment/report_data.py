"""The report's section on the texts: what the data check found, how long they are, and which rows were left out."""

from transformers import PreTrainedTokenizerBase

from bert_sentiment.data.check_results import DataCheck, Suspect
from bert_sentiment.data.preprocessor import special_tokens
from bert_sentiment.data.rejects import REJECTS, rejects_by_reason
from bert_sentiment.data.types import Splits
from bert_sentiment.evaluation import visualization
from roadmap_shared.report import Block, Figure, Section, Table, Text
from roadmap_shared.run import Run

_MOST_REASONS = 20


def data_section(check: DataCheck, splits: Splits, tokenizer: PreTrainedTokenizerBase, run: Run) -> Section:
    """Findings in sentences, lengths, rejected rows by reason, and labels worth a second look."""
    blocks: list[Block] = [Text("\n".join(f"- {finding}" for finding in check.findings))]
    if check.lengths.n_texts:
        blocks.append(_lengths(check, tokenizer, run))
    if rejected := rejects_by_reason(splits):
        blocks.append(_rejects(rejected))
    if check.suspects:
        blocks.append(_suspects(check.suspects[:8]))
    return Section("The texts", blocks)


def _lengths(check: DataCheck, tokenizer: PreTrainedTokenizerBase, run: Run) -> Figure:
    n_special = sum(map(len, special_tokens(tokenizer)))
    parts = zip(check.parts, check.lengths.by_part, strict=True)
    tokens = {part.name: [length + n_special for length in lengths] for part, lengths in parts if lengths}
    figure = visualization.length_figure(tokens, check.lengths.room + n_special)
    run.log_figure("lengths", figure)
    return Figure(
        figure,
        "Share of each part's texts that have at most so many tokens; right of the dashed line they are cut.",
        "Length of the texts in tokens",
    )


def _rejects(rejected: list[tuple[str, str, int, str]]) -> Table:
    caption = f"Rows that were left out; each stands in {REJECTS} beside this report."
    if (more := len(rejected) - _MOST_REASONS) > 0:
        caption += f" {more:,} reasons more are not shown."
    return Table(
        ["part", "rows left out", "reason", "the first"],
        [[part, count, reason, source] for part, reason, count, source in rejected[:_MOST_REASONS]],
        caption=caption,
    )


def _suspects(suspects: tuple[Suspect, ...]) -> Table:
    return Table(
        ["text", "part", "label", "words suggest", "probability of the label"],
        [
            [short(item.example.text), item.part, item.given, item.suggested, item.given_probability]
            for item in suspects
        ],
        caption="Labels worth a second look: a linear model that has not seen the text finds another likelier. "
        "Where irony or events carry the attitude, the label is right and the words mislead.",
        formats={"probability of the label": ".2f"},
    )


def short(text: str, longest: int = 220) -> str:
    """The beginning of a text, with `…` where the rest is missing."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
