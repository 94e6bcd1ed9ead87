import os
import subprocess
import sys
import textwrap

import pytest

from model_optimization.deployment import registry as module
from model_optimization.deployment.registry import FolderRegistry, open_registry
from model_optimization.deployment.single_variant import SingleVariant
from roadmap_shared.errors import UserError

from .registry_suite import RegistrySuite, a_variant


class TestFolderRegistry(RegistrySuite):
    @pytest.fixture
    def place(self, tmp_path):
        return str(tmp_path / "registry")


def test_places_of_another_kind_are_refused():
    with pytest.raises(UserError, match=r"^http://a: is neither a folder nor sqlite:///FILE$"):
        open_registry("http://a")


def test_unwritable_registry_is_one_line(tmp_path, monkeypatch):
    variant = a_variant(tmp_path / "model", "model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/registry: the registry cannot be written: Not a directory$"):
        FolderRegistry(tmp_path / "file" / "registry").register(variant)

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "atomic_write", full)
    registry = FolderRegistry(tmp_path / "registry")
    with pytest.raises(UserError, match=r"registry: the registry cannot be written: No space left on device$"):
        registry.register(variant)
    monkeypatch.undo()
    assert registry.versions() == []
    assert registry.register(variant).number == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "not of the form that this version writes"),
        (b'{"format": 1, "versions": [{}], "roles": {}, "history": []}', "missing"),
        (b"\xff", "codec can't decode"),
    ],
)
def test_damaged_state_is_one_line(tmp_path, content, reason):
    (tmp_path / "registry.json").write_bytes(content)
    with pytest.raises(UserError) as refused:
        FolderRegistry(tmp_path).versions()
    assert str(refused.value).startswith(f"{tmp_path / 'registry.json'}: the registry cannot be read: ")
    assert reason in str(refused.value)


def test_process_that_is_killed_while_it_registers_leaves_no_half_version(tmp_path):
    variant = a_variant(tmp_path / "model", "model")
    script = """
        import os, sys
        from pathlib import Path
        from model_optimization.deployment import registry
        registry.os.replace = lambda *paths: os._exit(9)
        registry.FolderRegistry(Path(sys.argv[1])).register(Path(sys.argv[2]))
    """
    root = tmp_path / "registry"
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script), root, variant], env=os.environ, check=False)
    assert ended.returncode == 9
    assert FolderRegistry(root).versions() == []
    assert FolderRegistry(root).register(variant).number == 1
    assert [path.name for path in (root / "versions").iterdir()] == ["1"]


def test_one_folder_is_a_registry_to_read(tmp_path):
    folder = a_variant(tmp_path / "model", "first")
    registry = SingleVariant(folder)
    assert (registry.role("champion"), registry.role("challenger"), registry.folder(1)) == (1, None, folder)
    assert [one.name for one in registry.versions()] == ["first"]
    a_variant(folder, "second", "other")
    assert registry.role("champion") == 2
    assert [one.name for one in registry.versions()] == ["second"]
    (folder / "variant.json").unlink()
    assert registry.role("champion") == 2
    for act in (registry.promote, registry.rollback, lambda: registry.set_challenger(1)):
        with pytest.raises(
            UserError, match=r"^one folder is served \(--serve.variant\): versions need --serve.registry$"
        ):
            act()
