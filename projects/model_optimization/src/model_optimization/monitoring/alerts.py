"""Alerts: rules over figures, that neither flutter nor repeat themselves.

A rule is inactive until its figure is beyond the limit, then pending, and fires when it has been beyond for so long.
It fires until the figure is back behind the second, milder limit for as long (hysteresis): a figure that wavers about
the first one gives one alert. A figure without a value leaves all as it was.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from roadmap_shared.errors import UserError, did_you_mean, one_line

METRICS = (
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "error_share",
    "mean_confidence",
    "per_second",
    "cost_per_thousand",
    "drift",
    "drift_score",
    "dropped",
)
"""Figures that rules can be about. `drift` is 1 while the newest window is off; `drift_score` is its largest score."""

State = Literal["inactive", "pending", "firing", "clearing"]
SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a figure is an alarm."""

    name: str
    metric: str
    """One of `METRICS`."""

    above: float | None = None
    """Beyond is above this; or below `below`."""

    below: float | None = None
    clear: float | None = None
    """The milder limit that the figure must be back behind; None: the limit itself."""

    for_seconds: float = 0.0
    """Seconds that the figure must stay beyond before the alert fires, and behind before it ends."""

    repeat_seconds: float | None = None
    """Tell again after so many seconds while it fires; None: once."""

    severity: str = "warning"
    text: str = ""
    """What to do, for the one who is woken up."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            hint = did_you_mean(self.metric, METRICS) or f"There are {', '.join(METRICS)}."
            raise ValueError(f"unknown metric {self.metric!r}. {hint}")
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below")
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")
        if self.for_seconds < 0 or (self.repeat_seconds is not None and self.repeat_seconds <= 0):
            raise ValueError("for_seconds must not be negative, and repeat_seconds must be above 0")
        if self.clear is not None and self.is_beyond(self.clear):
            raise ValueError(f"clear {self.clear:g} lies beyond the limit {self.limit:g}: give a milder one")

    @property
    def limit(self) -> float:
        """The first limit."""
        return self.above if self.above is not None else self.below if self.below is not None else math.nan

    def is_beyond(self, value: float) -> bool:
        """Whether the figure is an alarm."""
        return value > self.limit if self.above is not None else value < self.limit

    def is_back(self, value: float) -> bool:
        """Whether the figure is behind the milder limit."""
        limit = self.limit if self.clear is None else self.clear
        return value <= limit if self.above is not None else value >= limit


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something to tell: an alert began, goes on, or ended."""

    time: float
    """Seconds since 1970."""

    rule: str
    metric: str
    severity: str
    event: Literal["firing", "repeated", "resolved"]
    value: float
    text: str


@dataclass
class _Standing:
    state: State = "inactive"
    since: float = 0.0
    told: float = 0.0
    value: float | None = None


class Alerts:
    """Goes through the rules whenever there are figures. Not safe for several threads at once."""

    def __init__(self, rules: Sequence[Rule], tell: Callable[[Alert], None] = lambda alert: None) -> None:
        self.rules, self._tell = tuple(rules), tell
        self._standing = {rule.name: _Standing() for rule in rules}

    def update(self, now: float, values: Mapping[str, float | None]) -> list[Alert]:
        """Take the figures of a moment; what there is to tell, each event once."""
        alerts = []
        for rule in self.rules:
            value = values.get(rule.metric)
            if value is None or math.isnan(value):
                continue
            if event := _advance(self._standing[rule.name], rule, now, value):
                alerts.append(
                    Alert(
                        time=now,
                        rule=rule.name,
                        metric=rule.metric,
                        severity=rule.severity,
                        event=event,
                        value=value,
                        text=rule.text,
                    )
                )
        for alert in alerts:
            self._tell(alert)
        return alerts

    def standing(self) -> list[dict[str, Any]]:
        """Each rule with its state, since when, and the last figure."""
        return [
            {
                "rule": rule.name,
                "metric": rule.metric,
                "severity": rule.severity,
                "text": rule.text,
                "limit": rule.limit,
                "side": "above" if rule.above is not None else "below",
            }
            | vars(self._standing[rule.name])
            for rule in self.rules
        ]


def _advance(
    standing: _Standing, rule: Rule, now: float, value: float
) -> Literal["firing", "repeated", "resolved"] | None:
    """Move a rule on by one figure; what is to be told of it."""
    standing.value = value
    if standing.state in ("inactive", "pending"):
        if not rule.is_beyond(value):
            _enter(standing, "inactive", now)
            return None
        _enter(standing, "pending", now)
        if now - standing.since < rule.for_seconds:
            return None
        standing.state, standing.since, standing.told = "firing", now, now
        return "firing"
    if rule.is_back(value):
        _enter(standing, "clearing", now)
        if now - standing.since < rule.for_seconds:
            return None
        standing.state, standing.since = "inactive", now
        return "resolved"
    _enter(standing, "firing", now)
    if rule.repeat_seconds is None or now - standing.told < rule.repeat_seconds:
        return None
    standing.told = now
    return "repeated"


def _enter(standing: _Standing, state: State, now: float) -> None:
    if standing.state != state:
        standing.state, standing.since = state, now


DEFAULT_RULES = (
    Rule(
        name="slow answers",
        metric="p99_ms",
        above=500,
        clear=400,
        for_seconds=60,
        text="Look at the queue and at the load; a smaller variant is faster.",
    ),
    Rule(name="errors", metric="error_share", above=0.05, clear=0.01, for_seconds=60, severity="critical"),
    Rule(
        name="input drift",
        metric="drift",
        above=0.5,
        severity="critical",
        text="Read the newest texts; the model may not be made for them.",
    ),
    Rule(name="lost records", metric="dropped", above=0, severity="info", text="The log is incomplete."),
)


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Rules of a YAML or JSON file: a list under `rules`, each with the fields of `Rule`.

    Raises:
        UserError: the file cannot be read, or a rule is wrong: its number and what is wrong with it.
    """
    content = _content(path)
    items = content.get("rules") if isinstance(content, dict) else content
    if not isinstance(items, list) or not items:
        raise UserError(f"{path}: holds no rules: give a list under `rules`")
    rules = tuple(_rule(path, number, item) for number, item in enumerate(items, start=1))
    names = [rule.name for rule in rules]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: two rules have the name {twice!r}: give each its own")
    return rules


def _content(path: Path) -> Any:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as rules ({one_line(error)})") from error


def _rule(path: Path, number: int, item: Any) -> Rule:
    kinds = {field.name: field.type for field in fields(Rule)}
    if not isinstance(item, dict):
        raise UserError(f"{path}: rule {number} is no mapping of settings")
    for key, value in item.items():
        if key not in kinds:
            raise UserError(f"{path}: rule {number}: unknown setting {key!r}. {did_you_mean(str(key), kinds)}".rstrip())
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        wants_number = kinds[key] is not str
        if wants_number != is_number or (not wants_number and not isinstance(value, str)):
            raise UserError(f"{path}: rule {number}: {key} must be {'a number' if wants_number else 'a text'}")
    if lacking := [name for name in ("name", "metric") if not item.get(name)]:
        raise UserError(f"{path}: rule {number}: {lacking[0]} is missing")
    try:
        return Rule(**item)
    except ValueError as error:
        raise UserError(f"{path}: rule {number} ({item['name']}): {error}") from None
