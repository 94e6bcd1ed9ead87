"""The versions behind the server: which of them answers a request, and what is kept of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model_optimization.config.serving import ServeConfig, TrafficConfig
from model_optimization.deployment.batch_runner import Failed
from model_optimization.deployment.batching_jobs import DeadlineExceeded, Job, QueueClosed, QueueFull
from model_optimization.deployment.registry import Registry
from model_optimization.deployment.served_version import Prediction, ServedVersion
from model_optimization.deployment.server_errors import later
from model_optimization.deployment.server_metrics import ServerMetrics
from model_optimization.deployment.server_state import ServerState
from model_optimization.deployment.traffic import is_in_share
from model_optimization.deployment.version_manager import VersionManager
from model_optimization.monitoring.prediction_log import PredictionRecord, PredictionSink


@dataclass(frozen=True)
class Reply:
    """The answer to one request."""

    version: ServedVersion
    predictions: list[Prediction]


class Service:
    """Belongs to one event loop, where not said otherwise."""

    def __init__(self, registry: Registry, config: ServeConfig, sink: PredictionSink | None = None) -> None:
        self.config, self.registry, self._sink = config, registry, sink
        self.metrics = ServerMetrics()
        self.state = ServerState()
        self.traffic: TrafficConfig = config.traffic
        self._versions: VersionManager | None = None
        self._copies: set[asyncio.Task[None]] = set()
        self.metrics.ready.set_function(lambda: float(self.state.name == "ready"))

    def load(self) -> None:
        """Load the versions and warm them up, which takes seconds. From any thread, once.

        Raises:
            UserError: there is no champion, or it cannot be loaded.
        """
        self._versions = VersionManager(self.registry, self.config, self.metrics)
        self.state.warm = True

    @property
    def versions(self) -> VersionManager:
        """The loaded versions.

        Raises:
            ApiError: 503, there are none yet.
        """
        if self._versions is None:
            raise later(503, "warming", "the model is being loaded", 2)
        return self._versions

    async def predict(self, texts: Sequence[str], key: str, request_id: str, jobs: list[Job]) -> Reply:
        """Labels of texts, all or none.

        Args:
            texts: checked.
            key: equal keys are answered by the same version.
            request_id: for the log.
            jobs: what waits in a queue for this request is added, so that it can be abandoned.

        Raises:
            ApiError: 503, the server is not ready.
            QueueFull, QueueClosed, DeadlineExceeded, Failed, Abandoned: as `BatchingQueue` says.
        """
        begun, served = time.perf_counter(), self._choose(key)
        try:
            try:
                predictions = await self._ask(served, texts, jobs)
            except (Failed, QueueFull, QueueClosed) as error:
                if served is self.versions.roles.champion:
                    raise
                # A challenger must not break an answer, nor must a change of the champion in this moment.
                self._broke(served, error)
                served = self.versions.roles.champion
                predictions = await self._ask(served, texts, jobs)
        except (Failed, DeadlineExceeded) as error:
            self._broke(served, error)
            self._keep(served, texts, error, time.perf_counter() - begun, request_id)
            raise
        finally:
            self.state.ended += bool(jobs)
        seconds = time.perf_counter() - begun
        served.count(predictions, seconds)
        self._keep(served, texts, predictions, seconds, request_id)
        self._copy(served, texts, predictions, request_id)
        return Reply(served, predictions)

    def models(self) -> dict[str, Any]:
        """What is loaded, for /v1/models; nothing while the first version is being loaded."""
        traffic, found = self.traffic, []
        if self._versions is None:
            return {"state": self.state.name, "models": [], "reload_error": None}
        roles = self._versions.roles
        for role, served in (("champion", roles.champion), ("challenger", roles.challenger)):
            if served is not None:
                found.append({"role": role, **served.description()})
        return {
            "state": self.state.name,
            "models": found,
            "traffic": {"share": traffic.share, "shadow": traffic.shadow},
            "reload_error": self.versions.problem,
        }

    def comparison(self) -> dict[str, Any]:
        """Champion and challenger beside each other, since each was loaded."""
        roles = self.versions.roles
        return {
            role: {"version": served.number, "name": served.name, **served.tally.row()}
            for role, served in (("champion", roles.champion), ("challenger", roles.challenger))
            if served is not None
        }

    def close(self) -> None:
        """Answer what was accepted, leave copies out, free the networks. From any thread; it takes as long as that."""
        self.state.draining = True
        if self._versions is not None:
            self._versions.close()

    def _choose(self, key: str) -> ServedVersion:
        roles, share = self.versions.roles, self.traffic.share
        if roles.challenger is not None and share and is_in_share(key, roles.challenger.number, share):
            return roles.challenger
        return roles.champion

    async def _ask(self, served: ServedVersion, texts: Sequence[str], jobs: list[Job]) -> list[Prediction]:
        job = served.queue.submit(texts)
        self.state.accepted += not jobs
        jobs.append(job)
        return served.predictions(await served.queue.result(job))

    def _broke(self, served: ServedVersion, error: Exception) -> None:
        """Count a request that a version gave no answer to. One that closed in this moment is not at fault."""
        if not isinstance(error, QueueClosed):
            served.tally.broke()
            self.metrics.failures.labels(served.label).inc()

    def _keep(
        self,
        served: ServedVersion,
        texts: Sequence[str],
        outcome: Sequence[Prediction] | Exception,
        seconds: float,
        request_id: str,
        *,
        shadow: bool = False,
    ) -> None:
        """One record a text for the log."""
        if self._sink is None:
            return
        if isinstance(outcome, Exception):
            error = "deadline" if isinstance(outcome, DeadlineExceeded) else "failed"
            predictions: Sequence[Prediction] = [Prediction("", (), 0)] * len(texts)
        else:
            error, predictions = None, outcome
        now = time.time()
        self._sink.write(
            [
                PredictionRecord(
                    time=now,
                    version=served.label,
                    text=text,
                    label=prediction.label,
                    probabilities=prediction.probabilities,
                    latency_ms=seconds * 1e3,
                    n_tokens=prediction.n_tokens,
                    request_id=request_id,
                    shadow=shadow,
                    error=error,
                )
                for text, prediction in zip(texts, predictions, strict=True)
            ]
        )

    def _copy(
        self, served: ServedVersion, texts: Sequence[str], predictions: Sequence[Prediction], request_id: str
    ) -> None:
        """Let the challenger compute what the champion answered, after the answer and beside it."""
        roles = self.versions.roles
        if roles.challenger is None or not self.traffic.shadow or served is not roles.champion:
            return
        labels = [prediction.label for prediction in predictions]
        task = asyncio.create_task(self._compare(roles.challenger, texts, labels, request_id))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _compare(self, served: ServedVersion, texts: Sequence[str], labels: list[str], request_id: str) -> None:
        """Whatever happens here is counted and harms nobody."""
        begun = time.perf_counter()
        try:
            answer = await served.queue.result(served.queue.submit(texts, shadow=True))
            predictions = served.predictions(answer)
        except (QueueFull, QueueClosed, DeadlineExceeded):
            served.tally.shadow_dropped += 1
            self._count_copies(served, "dropped", len(texts))
            return
        except Exception:
            served.tally.shadow_failed += 1
            self._count_copies(served, "failed", len(texts))
            return
        seconds = time.perf_counter() - begun
        agreed = served.tally.compare([prediction.label for prediction in predictions], labels, seconds)
        self._count_copies(served, "agree", agreed)
        self._count_copies(served, "disagree", len(texts) - agreed)
        self._keep(served, texts, predictions, seconds, request_id, shadow=True)

    def _count_copies(self, served: ServedVersion, outcome: str, n: int) -> None:
        self.metrics.shadow.labels(served.label, outcome).inc(n)
