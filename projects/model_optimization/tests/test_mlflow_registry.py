import os
import shutil
import warnings

import pytest

from model_optimization.deployment.registry import open_registry
from roadmap_shared.errors import UserError

from .registry_suite import RegistrySuite, a_variant

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what MLflow imports warns of its own past
    pytest.importorskip("mlflow", reason="needs the extra mlflow")

# MLflow's own code uses what SQLAlchemy and others give up one day.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class TestMlflowRegistry(RegistrySuite):
    @pytest.fixture(scope="class")
    def store(self, tmp_path_factory):
        """An empty store: to make the tables takes seconds, and a copy has them, too."""
        path = tmp_path_factory.mktemp("store") / "empty.db"
        assert open_registry(f"sqlite:///{path}")._opened().search_registered_models() == []  # type: ignore[attr-defined]
        return path

    @pytest.fixture
    def place(self, store, tmp_path):
        tmp_path.joinpath("store").mkdir()
        shutil.copy(store, tmp_path / "store" / "mlflow.db")
        return f"sqlite:///{tmp_path}/store/mlflow.db"

    def test_mlflow_shows_versions_and_roles(self, filled, place, tmp_path):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(place, place)
        filled.set_challenger(3)
        assert client.get_model_version_by_alias("classifier", "champion").source == str(filled.folder(1))
        assert int(client.get_model_version_by_alias("classifier", "challenger").version) == 3

    def test_an_alias_that_was_moved_in_mlflow_counts(self, filled, place):
        from mlflow.tracking import MlflowClient

        MlflowClient(place, place).set_registered_model_alias("classifier", "champion", "2")
        assert filled.role("champion") == 2
        filled.promote(3)
        assert filled.rollback().number == 2

    def test_nothing_is_reported_to_its_makers(self, registry):
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

    def test_a_file_that_is_no_store_is_one_line(self, tmp_path):
        (tmp_path / "mlflow.db").write_text("no data base" * 100)
        with pytest.raises(UserError) as refused:
            open_registry(f"sqlite:///{tmp_path}/mlflow.db").register(a_variant(tmp_path / "model", "model"))
        assert str(refused.value).startswith(f"sqlite:///{tmp_path}/mlflow.db: MLflow cannot use it: ")
        assert "\n" not in str(refused.value)
