"""Variants and files for the tests of containers."""

from pathlib import Path
from typing import Any

import yaml

from model_optimization.variants import ONNX_FILE, VariantInfo, write_variant

from .tiny_models import tiny_classifier


def torch_variant(folder: Path, *, name: str = "tiny", on_load: str | None = None) -> Path:
    classifier = tiny_classifier()
    info = VariantInfo(name=name, kind="torch", labels=classifier.labels, max_length=64, on_load=on_load)
    return write_variant(folder, info, classifier.save)


def stub_of_onnx(folder: Path) -> Path:
    """A variant whose graph nobody opens here."""
    info = VariantInfo(name="int8", kind="onnx", labels=("negative", "positive"), max_length=64)
    return write_variant(folder, info, lambda at: (at / ONNX_FILE).write_bytes(b"graph") and None)


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
