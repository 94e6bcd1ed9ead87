import json
from pathlib import Path

import pytest

from model_optimization.commands.sensitivity import run
from model_optimization.config.data import DataConfig
from model_optimization.config.export import ExportConfig
from model_optimization.config.model import ModelConfig
from model_optimization.config.sensitivity import MixedPrecisionConfig, SensitivityCommandConfig, SensitivityConfig
from model_optimization.deployment.onnx_conversion import export_classifier
from model_optimization.variants import read_info
from roadmap_shared.errors import UserError

from .tiny_models import tiny_classifier


def config(model: Path, **settings: object) -> SensitivityCommandConfig:
    return SensitivityCommandConfig(
        model=ModelConfig(path=model, max_length=32),
        data=DataConfig(domains=("films",), max_examples=20),
        output=model.parent / "out",
        **settings,  # type: ignore[arg-type]
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_classifier(tmp_path / "model", labels=("negative", "neutral", "positive"))
    return tmp_path / "model"


def test_it_writes_the_map_and_the_variant(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SensitivityConfig(by="layer", texts=6)
    mixed = MixedPrecisionConfig(max_flips=0.9, max_accuracy_loss=0.9)
    run(config(model, sensitivity=settings, mixed=mixed, choose=True))
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "what        SQNR (dB)  flips of 6 (95 % interval of the share)"
    document = json.loads((model.parent / "out" / "sensitivity.json").read_text(encoding="utf-8"))
    assert (document["by"], document["change"]) == ("layer", "alone")
    rows = [(row["layer"], row["part"]) for row in document["rows"]]
    assert rows == [(0, "all"), (1, "all"), (None, "pooler"), (None, "classifier")]
    assert (model.parent / "out" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    assert "goal met in trial 1; matrices in fp32: 0; labels flipped: " in "\n".join(out)
    assert read_info(model.parent / "out" / "int8-mixed").kind == "onnx"


@pytest.mark.parametrize("change", ["pruned", "all_but"])
def test_other_changes(model: Path, change: str) -> None:
    run(config(model, sensitivity=SensitivityConfig(change=change, by="part", texts=4)))  # type: ignore[arg-type]
    document = json.loads((model.parent / "out" / "sensitivity.json").read_text(encoding="utf-8"))
    assert len(document["rows"]) == 8


def test_a_graph_is_taken_as_it_is_but_cannot_be_pruned(tmp_path: Path) -> None:
    graph = export_classifier(
        tiny_classifier(labels=("negative", "neutral", "positive")), tmp_path / "fp32", ExportConfig(), name="fp32"
    )
    run(config(graph, sensitivity=SensitivityConfig(by="part", texts=3)))
    with pytest.raises(UserError) as raised:
        run(config(graph, sensitivity=SensitivityConfig(change="pruned")))
    assert str(raised.value) == f"--model.path {graph}: --sensitivity.change pruned needs the torch variant of it"


def test_no_model() -> None:
    with pytest.raises(UserError) as raised:
        run(SensitivityCommandConfig())
    assert str(raised.value) == "which model? Name its folder with --model.path FOLDER"


def test_a_folder_that_cannot_be_written(model: Path) -> None:
    (model.parent / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(UserError, match="out"):
        run(config(model))
