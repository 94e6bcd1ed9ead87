"""`model-optimization drill`: known drift is put into a stream, and the detectors are scored."""

import json
from dataclasses import asdict

from model_optimization.config.drill import DrillConfig
from model_optimization.monitoring.drift_drill import TOGETHER, DrillResult, run_drill
from model_optimization.monitoring.embeddings import encoder_named
from roadmap_shared.files import atomic_write


def run(config: DrillConfig) -> None:
    """Run the drill on built-in texts and print its table.

    Raises:
        UserError: there is no such encoder, or there are too few texts for the settings.
    """
    print(f"{config.worlds} worlds of built-in texts, vectors by {config.encoder}")
    result = run_drill(config, encoder_named(config.encoder))
    print("\n".join(drill_lines(result, config.within)))
    if config.json is not None:
        config.json.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(result) | {"goal_met": result.goal_met, "encoder": config.encoder}
        atomic_write(config.json, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        print(f"written to {config.json}")


def drill_lines(result: DrillResult, within: int) -> list[str]:
    """The table for the terminal."""
    quiet = result.false_alarms[TOGETHER]
    lines = [
        "",
        f"false alarms: {quiet.estimate:.1%} ({quiet.low:.1%} … {quiet.high:.1%}) of {result.n_quiet} streams of "
        f"{result.requests_each:,} requests without drift; budget {result.budget:.0%}",
        "",
        f"{'drift':<21} {'found':>6} {'delay':>6} {'worst':>6}  {'accuracy':>8} {'ATC':>6} {'conf.':>6}  best alone",
        f"{'none':<21} {'':>6} {'':>6} {'':>6}  {result.accuracy:>8.3f}",
    ]
    for score in result.drifts:
        alone = {name: share for name, share in score.found.items() if name != TOGETHER}
        best = max(alone, key=lambda name: alone[name])
        delays = [f"{delay:.0f}" if delay is not None else "-" for delay in (score.median_delay, score.largest_delay)]
        lines.append(
            f"{score.name + ('' if score.strong else ' *'):<21} {score.found[TOGETHER]:>6.0%} {delays[0]:>6} "
            f"{delays[1]:>6}  {score.accuracy:>8.3f} {score.estimated_accuracy:>6.3f} {score.average_confidence:>6.3f}"
            f"  {best} {alone[best]:.0%}"
        )
    lines += [
        f"found: share of the streams in which the alarm came within {within} requests; delay: their median and worst",
        "* a shift of a mixture, or of a word or sign of each text: not among the strong ones",
        "",
        _verdict(result, within),
    ]
    return lines


def _verdict(result: DrillResult, within: int) -> str:
    quiet = result.false_alarms[TOGETHER].estimate
    if result.goal_met:
        return f"goal met: at most {result.budget:.0%} false alarms, every strong drift found within {within} requests"
    faults = [f"false alarms {quiet:.1%} above {result.budget:.0%}"] if quiet > result.budget else []
    faults += [f"not always found within {within} requests: {', '.join(result.missed)}"] if result.missed else []
    return f"goal missed: {'; '.join(faults)}"
