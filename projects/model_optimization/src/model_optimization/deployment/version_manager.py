"""Which versions are loaded, and how they change while requests are answered.

A version is loaded, checked and warm before it takes over; the one before answers what it accepted and is freed. What
cannot be loaded is said and changes nothing: the running version keeps serving.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from model_optimization.config.serving import ServeConfig
from model_optimization.deployment.registry import Registry
from model_optimization.deployment.registry_state import ROLES, Role
from model_optimization.deployment.served_version import Fingerprint, ServedVersion, fingerprint
from model_optimization.deployment.server_errors import without_paths
from model_optimization.deployment.server_metrics import ServerMetrics
from roadmap_shared.errors import UserError, one_line

logger = logging.getLogger("model_optimization.server")
_Wanted = tuple[int, Fingerprint] | None


@dataclass(frozen=True)
class Roles:
    """The loaded versions. Replaced as a whole, so that a request never sees half of a change."""

    champion: ServedVersion
    challenger: ServedVersion | None = None

    @property
    def loaded(self) -> list[ServedVersion]:
        """Both, or the one."""
        return [self.champion] if self.challenger is None else [self.champion, self.challenger]


class VersionManager:
    """Safe to use from any thread."""

    def __init__(self, registry: Registry, config: ServeConfig, metrics: ServerMetrics) -> None:
        """Load the champion, and the challenger where there is one.

        Raises:
            UserError: there is no champion, or it cannot be loaded.
        """
        self.registry, self._config, self._metrics = registry, config, metrics
        self._lock = threading.RLock()
        self._seen: dict[Role, _Wanted] = {}
        self._problems: dict[Role, tuple[_Wanted, str]] = {}
        self._stop = threading.Event()
        self._roles: Roles | None = None
        number = registry.role("champion")
        if number is None:
            raise UserError(
                "the registry has no champion: register a variant with `model-optimization registry --register FOLDER`"
            )
        self._install(Roles(self._open(number)))
        self._sync_role("challenger", at_once=True)
        if config.poll_seconds:
            self._watcher = threading.Thread(target=self._watch, name="registry-watch", daemon=True)
            self._watcher.start()

    @property
    def roles(self) -> Roles:
        """The loaded versions."""
        assert self._roles is not None
        return self._roles

    @property
    def problem(self) -> str | None:
        """Why a version that is wanted does not serve; None where all is well."""
        return "; ".join(f"{role}: {message}" for role, (_, message) in sorted(self._problems.items())) or None

    def is_idle(self) -> bool:
        """Whether no text of a client waits."""
        return self._roles is None or not any(served.queue.n_waiting for served in self._roles.loaded)

    def promote(self, number: int | None = None) -> ServedVersion:
        """Make a version the champion, by default the challenger.

        Raises:
            UserError: it cannot be loaded, or the registry refuses. Nothing has changed then.
        """
        with self._lock:
            if number is None:
                number = self.registry.role("challenger")
                if number is None:
                    raise UserError("there is no challenger to promote: name a version")
            return self._switch(number, lambda: self.registry.promote(number), "promote")

    def rollback(self) -> ServedVersion:
        """Make the champion before the present one the champion again. Errors as for `promote`."""
        with self._lock:
            number = self.registry.previous()
            if number is None:
                self.registry.rollback()  # says why not
                raise UserError("there is no earlier champion to go back to")
            return self._switch(number, self.registry.rollback, "rollback")

    def challenge(self, number: int | None) -> None:
        """Compare another version with the champion; None ends the comparison. Errors as for `promote`."""
        with self._lock:
            roles = self.roles
            if number == (roles.challenger.number if roles.challenger else None):
                return
            if number is None:
                self.registry.set_challenger(None)
                self._install(Roles(roles.champion))
                return
            fresh = self._open(number)
            self._or_close(fresh, lambda: self.registry.set_challenger(number))
            self._install(replace(roles, challenger=fresh))

    def sync(self) -> None:
        """Look at the registry once, and load what it wants."""
        with self._lock:
            for role in ROLES:
                try:
                    self._sync_role(role)
                except (UserError, OSError) as error:
                    self._fail(role, self._seen.get(role), error)
            self._metrics.reload_failed.set(bool(self._problems))

    def close(self) -> None:
        """Answer what was accepted, and free the networks."""
        self._stop.set()
        with self._lock:
            for served in self.roles.loaded:
                served.close()

    def _watch(self) -> None:
        while not self._stop.wait(self._config.poll_seconds):
            try:
                self.sync()
            except Exception:  # the watch must go on
                logger.exception("the registry could not be looked at")

    def _open(self, number: int) -> ServedVersion:
        config = self._config
        return ServedVersion(
            self.registry, number, config=config.batching, threads=config.threads, metrics=self._metrics,
            idle=self.is_idle,
        )  # fmt: skip

    def _switch(self, number: int, record: Callable[[], Any], action: str) -> ServedVersion:
        """Load first, write down second, take over last: each may fail without harm to those before."""
        roles = self.roles
        ready = roles.challenger if roles.challenger and roles.challenger.number == number else None
        fresh = ready or (roles.champion if roles.champion.number == number else self._open(number))
        if fresh in roles.loaded:
            record()
        else:
            self._or_close(fresh, record)
        self._install(Roles(fresh, None if fresh is ready else roles.challenger))
        self._metrics.switches.labels(action).inc()
        return fresh

    def _or_close(self, fresh: ServedVersion, record: Callable[[], Any]) -> None:
        try:
            record()
        except BaseException:
            self._retire(fresh)
            raise

    def _sync_role(self, role: Role, *, at_once: bool = False) -> None:
        """Bring one role up to date, once its files have not changed between two looks: they may be in the making."""
        roles = self.roles
        held = roles.champion if role == "champion" else roles.challenger
        number = self.registry.role(role)
        wanted = None if number is None else (number, fingerprint(self.registry.folder(number)))
        stable, self._seen[role] = at_once or self._seen.get(role) == wanted, wanted
        if wanted == (None if held is None else (held.number, held.fingerprint)):
            self._problems.pop(role, None)
            return
        if not stable or (role in self._problems and self._problems[role][0] == wanted):
            return
        if number is None:
            if role == "challenger":
                self._install(Roles(roles.champion))
            return
        other = roles.challenger
        if role == "champion" and other is not None and wanted == (other.number, other.fingerprint):
            self._install(Roles(other))
        else:
            try:
                fresh = self._open(number)
            except UserError as error:
                self._fail(role, wanted, error)
                return
            self._install(replace(roles, **{role: fresh}))
        self._problems.pop(role, None)
        self._metrics.reloads.labels("ok").inc()
        if role == "champion":
            self._metrics.switches.labels("reload").inc()

    def _fail(self, role: Role, wanted: _Wanted, error: Exception) -> None:
        message = without_paths(error)
        if self._problems.get(role) == (wanted, message):
            return
        self._problems[role] = (wanted, message)
        self._metrics.reloads.labels("failed").inc()
        self._metrics.reload_failed.set(1)
        logger.error("%s: cannot be loaded, the running version keeps serving: %s", role, one_line(error))

    def _install(self, roles: Roles) -> None:
        """Let these versions serve from the next request on, and free those that do no longer."""
        before = self._roles.loaded if self._roles else []
        self._roles = roles
        info, waiting = self._metrics.version_info, self._metrics.queue_texts
        info.clear()
        waiting.clear()
        for role, served in zip(ROLES, (roles.champion, roles.challenger), strict=True):
            if served is not None:
                info.labels(served.label, role, served.name).set(1)
                waiting.labels(served.label).set_function(lambda queue=served.queue: queue.n_waiting)
        for served in before:
            if served not in roles.loaded:
                self._retire(served)

    def _retire(self, served: ServedVersion) -> None:
        """Free a version when it has answered what it accepted. Who asks it meanwhile is told that it is closed."""
        threading.Thread(target=served.close, name="retire", daemon=True).start()
