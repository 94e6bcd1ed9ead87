"""The registry kept by MLflow: versions, roles as aliases, and history are rows of its SQLite store.

MLflow's own pages and clients show them, as the model `classifier`: `mlflow ui --backend-store-uri sqlite:///FILE`.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_optimization.deployment.registry import StatefulRegistry
from model_optimization.deployment.registry_state import ROLES, RegistryState, Switch, Version
from roadmap_shared.errors import UserError, one_line

MODEL = "classifier"
_HISTORY_TAG = "history"
_HISTORY_KEPT = 500
"""Changes of the champion: a tag of MLflow's holds 100,000 characters."""


class MlflowRegistry(StatefulRegistry):
    """Implements `Registry` by MLflow. The files of the versions are beside its store, in `<store>-files`."""

    def __init__(self, place: str) -> None:
        """Args:
            place: sqlite:///FILE.

        Raises:
            UserError: MLflow is not installed.
        """
        path = Path(place.removeprefix("sqlite:///"))
        super().__init__(path.with_name(f"{path.stem}-files"))
        # Read when it is imported; it would report uses to its makers.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["DO_NOT_TRACK"] = "true"
        try:
            from mlflow.tracking import MlflowClient  # type: ignore[import-not-found]
        except ImportError:
            raise UserError('MLflow is not installed. Run: pip install "roadmap-model-optimization[mlflow]"') from None
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table that it makes
        self._path, self._uri, self._class, self._client = path, f"sqlite:///{path}", MlflowClient, None

    def read_state(self) -> RegistryState:
        """The present state; that of an empty registry where there is none yet."""
        if not self._path.exists():
            return RegistryState()
        with _explained(self._uri):
            model = next(iter(self._opened().search_registered_models(f"name = '{MODEL}'")), None)
            if model is None:
                return RegistryState()
            # A search leaves the aliases of versions out; those of the model are whole.
            aliases = self._opened().get_registered_model(MODEL).aliases
            found = self._opened().search_model_versions(f"name = '{MODEL}'")
            return RegistryState(
                versions=tuple(sorted((_version(one) for one in found), key=lambda version: version.number)),
                roles={role: int(aliases[role]) for role in ROLES if role in aliases},
                history=tuple(Switch(**item) for item in json.loads(model.tags.get(_HISTORY_TAG, "[]"))),
            )

    def write_state(self, state: RegistryState, before: RegistryState) -> None:
        """Replace the state; the aliases, which decide who serves, come last."""
        with _explained(self._uri):
            client = self._opened()
            if not before.versions:
                self._make_model(client)
            for version in state.versions[len(before.versions) :]:
                made = client.create_model_version(
                    MODEL,
                    source=str(self.folder(version.number).resolve()),
                    tags={name: str(value) for name, value in asdict(version).items() if name != "number"},
                )
                if int(made.version) != version.number:
                    raise UserError(
                        f"{self._uri}: MLflow numbers the version {made.version} and not {version.number}: versions of "
                        f"the model '{MODEL}' were deleted or added by another program. Begin a new store"
                    )
            if state.history != before.history:
                kept = [asdict(switch) for switch in state.history[-_HISTORY_KEPT:]]
                client.set_registered_model_tag(MODEL, _HISTORY_TAG, json.dumps(kept))
            for role in ROLES:
                self._move_alias(client, role, before.roles.get(role), state.roles.get(role))

    def _opened(self) -> Any:
        """MLflow's client. Making it makes the tables, which takes seconds: not before they are wanted."""
        if self._client is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._client = self._class(self._uri, self._uri)
        return self._client

    def _make_model(self, client: Any) -> None:
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(MODEL)

    def _move_alias(self, client: Any, role: str, before: int | None, after: int | None) -> None:
        if after is not None and after != before:
            client.set_registered_model_alias(MODEL, role, str(after))
        elif after is None and before is not None:
            client.delete_registered_model_alias(MODEL, role)


def _version(one: Any) -> Version:
    return Version(
        number=int(one.version), name=one.tags["name"], created=float(one.tags["created"]), digest=one.tags["digest"]
    )


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Errors of MLflow and of SQLAlchemy as one line."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:  # they share no class but this one
        raise UserError(f"{uri}: MLflow cannot use it: {one_line(error)[:300]}") from error
