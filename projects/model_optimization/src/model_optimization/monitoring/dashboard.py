"""A page that shows how a served model does: latency, throughput, errors, labels, confidence, drift, alerts.

`router(log, config)` is included into the server's app; the page asks `/dashboard/data` every few seconds. The page
itself holds no figures, so that it may be open where the data needs a key.
"""

import asyncio
import base64
import hashlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import HTMLResponse

from model_optimization.config.monitoring import DashboardConfig
from model_optimization.monitoring.alerts import DEFAULT_RULES, Alert, Alerts, read_rules
from model_optimization.monitoring.drift_watch import DriftWatch
from model_optimization.monitoring.log_database import LogTable, Selection, read_log
from model_optimization.monitoring.performance_metrics import CostMeter, performance, performance_series
from model_optimization.monitoring.prediction_log import PredictionLog
from roadmap_shared.errors import UserError, one_line

BINS = 60
_MOST_RECORDS = 100_000
_ALERT_SECONDS = 300.0
"""Alerts are about the last five minutes, whatever span the page shows."""

logger = logging.getLogger("model_optimization.alerts")


class Dashboard:
    """Figures for the page, and the alerts. Its methods may be called from any thread."""

    def __init__(self, log: PredictionLog, config: DashboardConfig, *, clock: Callable[[], float] = time.time) -> None:
        """
        Raises:
            UserError: the rules or the reference cannot be read.
        """
        self._log, self._config, self._clock = log, config, clock
        self._cost = CostMeter(config.price_per_core_hour)
        self._seen_before = log.counts.seen
        self._drift = DriftWatch(log.path, config)
        self._events: deque[Alert] = deque(maxlen=50)
        rules = DEFAULT_RULES if config.rules is None else read_rules(config.rules)
        self._alerts = Alerts(rules, self._tell)
        self._lock = threading.Lock()
        self._ticked = float("-inf")
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Go through the alert rules from time to time, whether anybody looks or not, until `close`."""
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End what `start` began. Harmless without it."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(10)

    def tick(self) -> None:
        """Take in what was logged since the last time, and go through the alert rules; at most once a refresh."""
        with self._lock:
            now = self._clock()
            if now - self._ticked < self._config.refresh_seconds:
                return
            self._ticked = now
            self._drift.update()
            self._alerts.update(now, self._alert_values(now))

    def data(self, minutes: float) -> dict[str, Any]:
        """What the page shows of the last so many minutes, as JSON values."""
        self.tick()
        now = self._clock()
        start = now - 60 * minutes
        table = self._read(start, now)
        # Where more was logged than is read, the span begins with what was.
        start = float(table.time[0]) if len(table) == _MOST_RECORDS else start
        with self._lock:
            return {
                "now": now,
                "start": start,
                "refresh_seconds": self._config.refresh_seconds,
                "total": asdict(performance(table, start, now)),
                "series": [asdict(span) for span in performance_series(table, start, now, BINS)],
                "versions": _versions(table),
                "cost_per_thousand": self._cost_per_thousand(),
                "drift": self._drift.as_json(),
                "rules": self._alerts.standing(),
                "events": [asdict(alert) for alert in reversed(self._events)],
                "log": asdict(self._log.counts),
            }

    def _run(self) -> None:
        complaint = None
        while not self._closing.wait(self._config.refresh_seconds):
            try:
                self.tick()
                complaint = None
            except Exception as error:
                # A log that cannot be read for a moment must not end the alerts for ever. The same is said once.
                if complaint != str(error):
                    logger.error("no alerts: %s", one_line(error), exc_info=not isinstance(error, UserError))
                complaint = str(error)

    def _read(self, since: float, until: float) -> LogTable:
        return read_log(self._log.path, Selection(since=since, until=until, newest=_MOST_RECORDS, texts=False))

    def _alert_values(self, now: float) -> dict[str, float | None]:
        last = performance(self._read(now - _ALERT_SECONDS, now), now - _ALERT_SECONDS, now)
        newest = self._drift.newest
        counts = self._log.counts
        return {
            "p50_ms": last.p50_ms,
            "p95_ms": last.p95_ms,
            "p99_ms": last.p99_ms,
            "error_share": last.error_share,
            "mean_confidence": last.mean_confidence,
            "per_second": last.per_second,
            "cost_per_thousand": self._cost_per_thousand(),
            "drift": None if newest is None else float(newest.drift),
            "drift_score": None if newest is None else newest.scores[newest.largest],
            "dropped": float(counts.dropped + counts.failed),
        }

    def _cost_per_thousand(self) -> float | None:
        return self._cost.per_thousand(self._log.counts.seen - self._seen_before)

    def _tell(self, alert: Alert) -> None:
        self._events.append(alert)
        logger.warning("%s: %s (%s is %.4g) %s", alert.event, alert.rule, alert.metric, alert.value, alert.text)


def router(log: PredictionLog, config: DashboardConfig) -> APIRouter:
    """The routes /dashboard and /dashboard/data. While the app runs, the alert rules are gone through.

    Raises:
        UserError: the rules or the reference cannot be read.
    """
    dashboard = Dashboard(log, config)

    @asynccontextmanager
    async def watching(app: FastAPI) -> AsyncIterator[None]:
        dashboard.start()
        yield
        await asyncio.to_thread(dashboard.close)

    routes = APIRouter(lifespan=watching)
    page, policy = dashboard_page()

    @routes.get("/dashboard", include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": policy, "cache-control": "no-cache"})

    @routes.get("/dashboard/data", summary="What the dashboard shows")
    async def figures(minutes: float = Query(60, gt=0, le=60 * 24 * 31)) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(dashboard.data, minutes)
        except UserError as error:
            return {"error": str(error)}

    return routes


def dashboard_page() -> tuple[str, str]:
    """The page, and a policy that lets its own script and style run and nothing else, should markup slip in."""
    page = (files("model_optimization.monitoring") / "dashboard.html").read_text(encoding="utf-8")
    script, style = (_hashes(page, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hashes(page: str, tag: str) -> str:
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _versions(table: LogTable) -> dict[str, float]:
    """Requests of each version."""
    names, places = np.unique(table.version.astype(str), return_inverse=True)
    sums = np.bincount(places, weights=table.weight, minlength=len(names))
    return {str(name): float(total) for name, total in zip(names, sums, strict=True)}
