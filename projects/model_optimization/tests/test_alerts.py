"""Rules over time: no flutter, no repetition, no alarm for a moment."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from model_optimization.monitoring.alerts import DEFAULT_RULES, Alert, Alerts, Rule, read_rules
from roadmap_shared.errors import UserError

SLOW = Rule(name="slow", metric="p99_ms", above=100, clear=80, for_seconds=30)


def told(rule: Rule, values: Sequence[float | None], step: float = 10) -> list[tuple[float, str]]:
    alerts = Alerts([rule])
    return [
        (alert.time, alert.event)
        for number, value in enumerate(values)
        for alert in alerts.update(number * step, {rule.metric: value})
    ]


def test_it_fires_after_a_time_and_ends_after_a_time() -> None:
    assert told(SLOW, [50, 120, 120, 120, 120, 50, 50, 50, 50, 50]) == [(40, "firing"), (80, "resolved")]


def test_a_moment_is_no_alarm() -> None:
    assert told(SLOW, [120, 120, 120, 50, 120, 120, 120, 50]) == []


def test_a_figure_that_wavers_about_the_limit_gives_one_alert() -> None:
    assert told(SLOW, [120] * 4 + [99, 101, 85, 120, 81, 101] * 5) == [(30, "firing")]


def test_a_moment_behind_the_limit_does_not_end_it() -> None:
    assert told(SLOW, [120] * 4 + [50, 50, 120, 50, 50, 120]) == [(30, "firing")]


def test_without_a_value_all_stays_as_it_was() -> None:
    assert told(SLOW, [120, None, None, 120, float("nan"), None, 50, None, None, 50]) == [
        (30, "firing"),
        (90, "resolved"),
    ]


def test_it_is_told_again_only_where_that_is_asked_for() -> None:
    rule = Rule(name="r", metric="drift", above=0.5, repeat_seconds=30)
    assert told(rule, [1] * 8 + [0]) == [(0, "firing"), (30, "repeated"), (60, "repeated"), (80, "resolved")]
    assert told(Rule(name="r", metric="drift", above=0.5), [1] * 8) == [(0, "firing")]


def test_below() -> None:
    rule = Rule(name="unsure", metric="mean_confidence", below=0.6, clear=0.7)
    assert told(rule, [0.8, 0.55, 0.65, 0.69, 0.7, 0.65]) == [(10, "firing"), (40, "resolved")]


def test_events_go_to_the_listener_and_states_are_shown() -> None:
    heard: list[Alert] = []
    alerts = Alerts(DEFAULT_RULES, heard.append)
    alerts.update(5, {"drift": 1.0, "error_share": 0.5})
    assert [(alert.rule, alert.event, alert.value) for alert in heard] == [("input drift", "firing", 1.0)]
    states = {row["rule"]: row["state"] for row in alerts.standing()}
    assert states == {
        "slow answers": "inactive",
        "errors": "pending",
        "input drift": "firing",
        "lost records": "inactive",
    }


def test_rules_of_a_file(tmp_path: Path) -> None:
    rules = [{"name": "slow", "metric": "p99_ms", "above": 100, "clear": 80, "for_seconds": 30}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": rules}))
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    assert read_rules(tmp_path / "rules.yaml") == read_rules(tmp_path / "rules.json") == (SLOW,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rules: [", "cannot be read as rules ("),
        ("", "holds no rules: give a list under `rules`"),
        ("rules: [7]", "rule 1 is no mapping of settings"),
        ("rules: [{name: a, metric: p99_m, above: 1}]", "rule 1 (a): unknown metric 'p99_m'. Did you mean 'p99_ms'?"),
        ("rules: [{name: a, metric: drift}]", "rule 1 (a): give one of above and below"),
        ("rules: [{metric: drift, above: 1}]", "rule 1: name is missing"),
        ("rules: [{name: a, metric: drift, abov: 1}]", "rule 1: unknown setting 'abov'. Did you mean 'above'?"),
        ("rules: [{name: a, metric: drift, above: high}]", "rule 1: above must be a number"),
        ("rules: [{name: a, metric: drift, above: .nan}]", "rule 1: above must be a number"),
        ("rules: [{name: 1, metric: drift, above: 1}]", "rule 1: name must be a text"),
        ("rules: [{name: a, metric: drift, above: 1, severity: loud}]", "rule 1 (a): severity 'loud' is none of info"),
        (
            "rules: [{name: a, metric: drift, above: 1, clear: 2}]",
            "rule 1 (a): clear 2 lies beyond the limit 1: give a milder one",
        ),
        (
            "rules: [{name: a, metric: drift, above: 1}, {name: a, metric: drift, above: 2}]",
            "two rules have the name 'a': give each its own",
        ),
    ],
)
def test_wrong_rules_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_rules(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    with pytest.raises(UserError, match=r"there is no such file$"):
        read_rules(tmp_path / "missing.yaml")
