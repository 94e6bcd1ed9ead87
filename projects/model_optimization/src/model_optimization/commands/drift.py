"""`model-optimization drift`: compare what was logged with a reference."""

import json
from collections.abc import Sequence
from pathlib import Path

from model_optimization.config.monitoring import DriftCommandConfig
from model_optimization.monitoring.alerts import Alerts, Rule, read_rules
from model_optimization.monitoring.drift_page import drift_page
from model_optimization.monitoring.drift_report import DriftReport, compare
from model_optimization.monitoring.embeddings import Encoder, encoder_named
from model_optimization.monitoring.evidently_report import write_evidently
from model_optimization.monitoring.log_database import LogTable, Selection, read_log
from model_optimization.monitoring.observed import Observed
from model_optimization.monitoring.performance_metrics import Performance, performance
from model_optimization.monitoring.reference import read_reference, with_embeddings
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write


def run(config: DriftCommandConfig) -> None:
    """Test the whole log, go through its windows, and say what changed.

    Raises:
        UserError: there is no log, it holds too little, or the reference has nothing in common with it.
    """
    rules = None if config.rules is None else read_rules(config.rules)
    whole = read_log(config.log, Selection(version=config.version))
    encode = None if config.model is None else encoder_named(str(config.model))
    reference, table = _reference_and_rest(config, whole.answered, encode)
    current = with_embeddings(table, encode)
    if not reference.names & current.names:
        raise UserError(f"--reference {config.reference} has nothing that {config.log} has too: give texts or a log")
    report = compare(reference, current, config.monitor, config.alpha)
    figures = _figures(whole)
    print("\n".join(report_lines(report, figures)))
    if rules is not None:
        _go_through(rules, report, figures)
    if config.json is not None:
        _write(config.json, json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    if config.html is not None:
        _write(config.html, drift_page(report, figures, str(config.log)))
    if config.evidently is not None:
        write_evidently(reference, current, config.evidently)
        print(f"written to {config.evidently}")


def _reference_and_rest(
    config: DriftCommandConfig, answered: LogTable, encode: Encoder | None
) -> tuple[Observed, LogTable]:
    of_version = "" if config.version is None else f" of version {config.version}"
    if not len(answered):
        raise UserError(f"{config.log}: holds no answers{of_version}: serve for a while first")
    size = 0 if config.reference is not None else config.reference_size
    rest, window = answered.rows(slice(size, None)), config.monitor.window
    if len(rest) < window:
        behind = f" behind the {size} that are the reference" if size else ""
        raise UserError(
            f"{config.log}: has {len(rest)} answers{of_version}{behind}, fewer than a window of {window}: collect "
            "more, or give a smaller --monitor.window"
        )
    if config.reference is not None:
        return read_reference(config.reference, encode), rest
    return with_embeddings(answered.rows(slice(0, size)), encode), rest


def _figures(table: LogTable) -> Performance:
    start, end = float(table.time[0]), float(table.time[-1])
    return performance(table, start, max(end, start) + 1e-3)


def report_lines(report: DriftReport, figures: Performance) -> list[str]:
    """What the terminal shows."""
    lines = [f"{report.n_current:,} answers against a reference of {report.n_reference:,}"]
    if figures.p50_ms is not None:
        lines.append(
            f"latency p50 {figures.p50_ms:.3g} ms, p95 {figures.p95_ms:.3g} ms, p99 {figures.p99_ms:.3g} ms; "
            f"errors {figures.error_share or 0:.1%}"
        )
    lines += ["", f"{'feature':<14} {'test':<11} {'statistic':>9}  {'p, corrected':>12}"]
    for finding in report.findings:
        change = f"  {finding.reference} -> {finding.current}" if finding.reference else ""
        lines.append(
            f"{finding.feature:<14} {finding.test:<11} {finding.statistic:>9.3g}  {finding.corrected:>12.2g}"
            f"  {'DRIFT' if finding.drift else '     '}{change}".rstrip()
        )
    off = [window for window in report.windows if window.drift]
    lines.append("")
    if report.first_alarm is None:
        lines.append(f"none of {len(report.windows)} windows of {report.monitor.window} is off")
    else:
        first = report.first_alarm
        lines.append(
            f"{len(off)} of {len(report.windows)} windows of {report.monitor.window} are off, the first at request "
            f"{first.end:,}: {first.largest} is {first.scores[first.largest]:.1f} standard deviations off "
            f"(threshold {report.threshold:.1f})"
        )
    budget = report.monitor
    lines.append(f"budget: a false alarm in {budget.false_alarms:.0%} of {budget.horizon:,} requests without drift")
    return lines


def _go_through(rules: Sequence[Rule], report: DriftReport, figures: Performance) -> None:
    last = report.windows[-1]
    values = {name: getattr(figures, name) for name in ("p50_ms", "p95_ms", "p99_ms", "error_share", "mean_confidence")}
    values |= {"drift": float(last.drift), "drift_score": last.scores[last.largest], "per_second": figures.per_second}
    alerts = Alerts(rules)
    # A log that is over has no more time to pass: what is beyond its limit counts as having been so for long.
    fired = [*alerts.update(0.0, values), *alerts.update(float("inf"), values)]
    for alert in fired:
        if alert.event == "firing":
            print(f"ALERT {alert.severity}: {alert.rule}: {alert.metric} is {alert.value:.4g}. {alert.text}".rstrip())
    if not fired:
        print("no rule fires")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text)
    print(f"written to {path}")
