"""The votes as a section of a report, and as lines for the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roadmap_shared.metrics import Interval
from roadmap_shared.report import Block, Callout, Figure, KeyFigure, KeyFigures, Section, Table
from roadmap_shared.report.blocks import Cell
from text_generation.evaluation.rating.analysis import PairScore, VoteAnalysis
from text_generation.evaluation.rating.power import MOST_ITEMS, Outlook

if TYPE_CHECKING:
    import matplotlib.figure

_ENOUGH_ITEMS = 30


def votes_section(analysis: VoteAnalysis) -> Section:
    """What people preferred, as a section of a report."""
    blocks: list[Block] = [_key_figures(analysis), _systems_table(analysis)]
    if len(analysis.systems) > 2:
        blocks.append(
            Figure(
                strengths_figure(analysis),
                "Bradley-Terry strength of each system, with 95 % bootstrap intervals over prompts.",
                alt=", ".join(f"{score.system} {score.strength.estimate:+.2f}" for score in analysis.systems),
            )
        )
    blocks += [_pairs_table(analysis), _raters_table(analysis), *_remarks(analysis)]
    return Section("What people prefer", blocks, intro=_intro(analysis))


def _intro(analysis: VoteAnalysis) -> str:
    return (
        f"Raters were asked, without knowing which system wrote which text: **{analysis.study.question}** "
        f"{analysis.n_votes:,} votes on {analysis.n_items_rated:,} of {len(analysis.study.items):,} items; "
        f"{analysis.n_skipped:,} skipped. A tie is half a win for each side. Strengths are Bradley-Terry log-odds "
        "against the average system (Bradley & Terry 1952, fitted by Hunter's 2004 MM algorithm), with half a win "
        "added to both sides of each pair, so that a system that won all its votes is not infinitely strong."
    )


def _key_figures(analysis: VoteAnalysis) -> KeyFigures:
    best = analysis.systems[0]
    figures = [
        KeyFigure(f"win rate of {best.system}", best.win_rate, note="ties as one half"),
        KeyFigure("is the best", f"{best.probability_best:.0%}", note="of the bootstrap resamples"),
    ]
    if analysis.alpha is not None:
        figures.append(
            KeyFigure("Krippendorff's alpha", analysis.alpha, note=f"{analysis.n_shared_items} shared items")
        )
    if analysis.chose_a is not None:
        figures.append(KeyFigure("votes for side A", analysis.chose_a, note="0.5: the side did not matter"))
    return KeyFigures(figures)


def _systems_table(analysis: VoteAnalysis) -> Table:
    rows: list[Sequence[Cell]] = [
        (score.system, score.strength, score.win_rate, score.probability_best, score.n_votes)
        for score in analysis.systems
    ]
    return Table(
        ["system", "strength (log-odds)", "win rate", "probability of being best", "votes"],
        rows,
        "Systems, the strongest first.",
        formats={"probability of being best": ".2f"},
    )


def _pairs_table(analysis: VoteAnalysis) -> Table:
    rows: list[Sequence[Cell]] = [
        (
            f"{pair.a} : {pair.b}",
            pair.wins,
            pair.losses,
            pair.ties,
            pair.win_rate,
            items_verdict(pair),
            more(pair.outlook),
        )
        for pair in analysis.pairs
    ]
    return Table(
        ["pair", "wins", "losses", "ties", "win rate", "items won : lost : tied", "items until decided"],
        rows,
        "Decided: a sign test over items at 5 %. Otherwise the number of further items that will decide it with the "
        "wanted probability if they are like those so far, by simulation. Choose the number, rate them all, then look: "
        "testing after every vote finds differences that are not there. The pairs are tested one by one.",
    )


def items_verdict(pair: PairScore) -> str:
    """`12 : 5 : 3`."""
    return f"{pair.items_won} : {pair.items_lost} : {pair.items_tied}"


def more(outlook: Outlook) -> str:
    """`decided`, or how many items are missing."""
    if outlook.decided:
        return "decided"
    return f"about {outlook.more_items:,}" if outlook.more_items is not None else f"more than {MOST_ITEMS:,}"


def _raters_table(analysis: VoteAnalysis) -> Table:
    rows: list[Sequence[Cell]] = [
        (score.rater, score.n_votes, score.n_ties, score.n_skipped, score.median_seconds) for score in analysis.raters
    ]
    return Table(["rater", "votes", "ties", "skipped", "seconds a vote (median)"], rows, "Raters.")


def _remarks(analysis: VoteAnalysis) -> list[Callout]:
    return [Callout(text, "warning") for text in remarks(analysis)]


def remarks(analysis: VoteAnalysis) -> list[str]:
    """What a reader of the figures must be warned of."""
    found = []
    if analysis.chose_a is not None and not analysis.chose_a.low <= 0.5 <= analysis.chose_a.high:
        side = "A" if analysis.chose_a.estimate > 0.5 else "B"
        found.append(
            f"Raters prefer side {side}, whichever text stands there. Sides are balanced, so this adds noise rather "
            "than an advantage for a system; ask raters to read both texts to the end."
        )
    if analysis.alpha is None:
        found.append("No measure of agreement: it takes items with two raters, and votes that are not all the same.")
    elif analysis.alpha.high < 0.667:
        found.append(
            "Raters agree little (alpha below .667): the texts may be equally good, or the question may be read in "
            "different ways."
        )
    if analysis.n_items_rated < _ENOUGH_ITEMS:
        found.append(
            f"Only {analysis.n_items_rated} items are rated: bootstrap intervals of fewer than {_ENOUGH_ITEMS} are too "
            "narrow."
        )
    if analysis.rejects:
        n_lines = _counted(len(analysis.rejects), "line")
        found.append(f"{n_lines} of the votes could not be used, the first: {analysis.rejects[0]}")
    return found


def strengths_figure(analysis: VoteAnalysis) -> "matplotlib.figure.Figure":
    """Strengths with their intervals, the strongest on top."""
    import matplotlib.figure

    from roadmap_shared.report import INK, PALETTE, figure_style

    scores = list(reversed(analysis.systems))
    with figure_style():
        figure = matplotlib.figure.Figure(figsize=(7.2, 0.9 + 0.4 * len(scores)))
        axes = figure.subplots()
        for row, score in enumerate(scores):
            axes.plot([score.strength.low, score.strength.high], [row, row], color=PALETTE[0], linewidth=2)
            axes.plot(score.strength.estimate, row, "o", color=PALETTE[0])
        axes.axvline(0, color=INK, linewidth=0.7, alpha=0.5)
        axes.set_yticks(range(len(scores)), [score.system for score in scores])
        axes.set_ylim(-0.6, len(scores) - 0.4)
        axes.set_xlabel("strength (log-odds against the average system)")
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
    return figure


def lines(analysis: VoteAnalysis) -> list[str]:
    """The figures as lines of text."""
    width = max(len(score.system) for score in analysis.systems)
    found = [
        f"{analysis.n_votes} votes of {_counted(len(analysis.raters), 'rater')} on {analysis.n_items_rated} of "
        f"{len(analysis.study.items)} items, {analysis.n_skipped} skipped",
        "",
        f"{'system':<{width}}  win rate              strength              best",
    ]
    for score in analysis.systems:
        found.append(
            f"{score.system:<{width}}  {_shown(score.win_rate, '.3f'):<20}  {_shown(score.strength, '+.2f'):<20}  "
            f"{score.probability_best:.0%}"
        )
    found += ["", "pair: wins, losses, ties; items won : lost : tied; items until decided"]
    found += [
        f"{pair.a} : {pair.b}: {pair.wins}, {pair.losses}, {pair.ties}; {items_verdict(pair)}; {more(pair.outlook)}"
        for pair in analysis.pairs
    ]
    found.append("")
    if analysis.alpha is not None:
        found.append(f"Krippendorff's alpha {_shown(analysis.alpha, '.3f')} over {analysis.n_shared_items} items")
    if analysis.chose_a is not None:
        found.append(f"votes for side A {_shown(analysis.chose_a, '.3f')}")
    return [*found, *remarks(analysis)]


def _shown(interval: Interval, spec: str) -> str:
    return f"{interval.estimate:{spec}} [{interval.low:{spec}}, {interval.high:{spec}}]"


def _counted(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
