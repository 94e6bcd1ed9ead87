"""What every registry must do, whatever keeps it. A test module of a registry inherits from the suite."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_optimization.deployment.registry import Registry, open_registry
from model_optimization.variants import VariantInfo, write_variant
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier


def a_variant(folder: Path, name: str, content: str = "weights") -> Path:
    """A variant that can be registered and not computed."""
    info = VariantInfo(name=name, kind="torch", labels=("a", "b"), max_length=16)
    return write_variant(folder, info, lambda inside: inside.joinpath("model.safetensors").write_text(content))


REGISTER = """
import sys
from pathlib import Path
from model_optimization.deployment.registry import open_registry
registry = open_registry(sys.argv[1])
for _ in range(3):
    registry.register(Path(sys.argv[2]))
"""


class RegistrySuite:
    """`place` is a fixture: what `open_registry` takes."""

    @pytest.fixture
    def registry(self, place: str) -> Registry:
        return open_registry(place)

    @pytest.fixture
    def filled(self, registry: Registry, tmp_path: Path) -> Registry:
        for name in ("first", "second", "third"):
            registry.register(a_variant(tmp_path / name, name, name))
        return registry

    def test_is_empty_at_first(self, registry):
        assert registry.versions() == []
        assert registry.role("champion") is None
        assert registry.history() == []
        assert registry.previous() is None

    def test_numbers_versions_and_makes_the_first_the_champion(self, filled, place):
        for registry in (filled, open_registry(place)):
            assert [(one.number, one.name) for one in registry.versions()] == [
                (1, "first"),
                (2, "second"),
                (3, "third"),
            ]
            assert registry.role("champion") == 1
            assert registry.role("challenger") is None
            assert registry.folder(2).joinpath("model.safetensors").read_text() == "second"
        assert abs(filled.versions()[0].created - time.time()) < 60

    def test_versions_do_not_change_with_what_they_were_made_from(self, registry, tmp_path):
        folder = a_variant(tmp_path / "model", "model", "before")
        registry.register(folder, name="kept")
        a_variant(folder, "model", "after")
        assert registry.versions()[0].name == "kept"
        assert registry.folder(1).joinpath("model.safetensors").read_text() == "before"
        assert registry.folder(1).joinpath("model.safetensors").stat().st_mode & 0o222 == 0

    def test_promotes_by_number_or_the_challenger(self, filled, place):
        filled.set_challenger(2)
        assert open_registry(place).role("challenger") == 2
        assert filled.promote().number == 2
        assert (filled.role("champion"), filled.role("challenger")) == (2, None)
        filled.set_challenger(1)
        assert filled.promote(3).number == 3
        assert (filled.role("champion"), filled.role("challenger")) == (3, 1)
        filled.set_challenger(None)
        assert open_registry(place).role("challenger") is None

    def test_rolls_back_as_often_as_it_promoted(self, filled, place):
        filled.promote(2)
        filled.promote(3)
        assert filled.previous() == 2
        assert filled.rollback().number == 2
        assert open_registry(place).rollback().number == 1
        assert open_registry(place).role("champion") == 1
        with pytest.raises(UserError, match=r"^there is no earlier champion to go back to$"):
            filled.rollback()
        filled.promote(3)
        assert filled.rollback().number == 1
        assert [(one.action, one.before, one.after) for one in filled.history()] == [
            ("promote", None, 1),
            ("promote", 1, 2),
            ("promote", 2, 3),
            ("rollback", 3, 2),
            ("rollback", 2, 1),
            ("promote", 1, 3),
            ("rollback", 3, 1),
        ]

    @pytest.mark.parametrize(
        ("act", "message"),
        [
            (lambda registry: registry.promote(7), "version 7 is not in the registry (there: 1, 2, 3)"),
            (lambda registry: registry.promote(), "there is no challenger to promote: name a version"),
            (lambda registry: registry.promote(1), "version 1 is the champion already"),
            (lambda registry: registry.set_challenger(9), "version 9 is not in the registry (there: 1, 2, 3)"),
            (
                lambda registry: registry.set_challenger(1),
                "version 1 is the champion: it cannot be its own challenger",
            ),
            (lambda registry: registry.load(4), "version 4 is not in the registry (there: 1, 2, 3)"),
        ],
    )
    def test_refusals_change_nothing(self, filled, act, message):
        before = filled.history()
        with pytest.raises(UserError) as refused:
            act(filled)
        assert str(refused.value) == message
        assert filled.history() == before

    def test_damaged_variants_are_not_registered(self, registry, tmp_path):
        folder = a_variant(tmp_path / "model", "model")
        folder.joinpath("model.safetensors").write_text("cut")
        with pytest.raises(UserError, match=r"was changed or cut off since the variant was made: make it again$"):
            registry.register(folder)
        with pytest.raises(UserError, match=r"is no variant of a model \(no variant.json in it\)$"):
            registry.register(tmp_path)
        assert registry.versions() == []

    def test_loads_a_version_and_refuses_one_that_was_changed(self, registry, tmp_path):
        classifier = tiny_classifier()
        info = VariantInfo(name="tiny", kind="torch", labels=classifier.labels, max_length=64)
        registry.register(write_variant(tmp_path / "tiny", info, classifier.save))
        loaded = registry.load(1)
        assert loaded.logits(TEXTS) == pytest.approx(classifier.logits(TEXTS), abs=1e-6)
        weights = registry.folder(1) / "model.safetensors"
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes()[:-8])
        with pytest.raises(UserError, match=r"model.safetensors: was changed or cut off"):
            registry.load(1)

    def test_a_record_that_was_made_to_fit_changed_files_is_refused(self, filled, tmp_path):
        record = filled.folder(2) / "variant.json"
        record.unlink()
        record.write_text((a_variant(tmp_path / "other", "other") / "variant.json").read_text())
        with pytest.raises(UserError, match=r"variant.json: was changed since version 2 was registered$"):
            filled.load(2)

    def test_processes_that_register_at_once_lose_nothing(self, place, tmp_path):
        folder = a_variant(tmp_path / "model", "model")
        open_registry(place).register(folder)
        command = [sys.executable, "-c", REGISTER, place, str(folder)]
        processes = [subprocess.Popen(command) for _ in range(2)]
        assert [process.wait(120) for process in processes] == [0, 0]
        registry = open_registry(place)
        assert [one.number for one in registry.versions()] == list(range(1, 8))
        assert all((registry.folder(one.number) / "variant.json").is_file() for one in registry.versions())
