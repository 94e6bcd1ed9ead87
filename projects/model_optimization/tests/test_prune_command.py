"""`prune` from its settings to a variant that can be opened, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_optimization.commands.prune import run
from model_optimization.config.data import DataConfig
from model_optimization.config.model import ModelConfig
from model_optimization.config.pruning import MagnitudeConfig, PruneConfig, PruningConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.pruning.magnitude_pruning import prunable_weights, sparsity
from model_optimization.pruning.pruned_bert import PrunedBertForSequenceClassification
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import VariantInfo, load_variant, read_info, write_variant
from roadmap_shared.errors import UserError

from .pruning_models import other_classifier
from .tiny_models import TEXTS, tiny_classifier

ROWS = [
    (f"{text} {word}", "positive" if place % 2 else "negative") for place, text in enumerate(TEXTS) for word in TEXTS
]


@pytest.fixture
def config(tmp_path: Path) -> PruneConfig:
    tiny_classifier(tmp_path / "whole", layers=3)
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS))
    return PruneConfig(
        output=tmp_path / "pruned",
        model=ModelConfig(path=tmp_path / "whole", max_length=32),
        data=DataConfig(path=tmp_path / "texts.csv"),
        pruning=PruningConfig(ffn_keep=0.5),
        trainer=TrainerConfig(epochs=1, batch_size=8),
    )


def opened(config: PruneConfig) -> TorchClassifier:
    classifier = load_variant(config.output)
    assert isinstance(classifier, TorchClassifier)
    return classifier


def test_half_of_the_neurons(config: PruneConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run(config)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("whole: accuracy ")
    assert lines[1] == "left: 3 layers, 4 heads and 32 neurons each"
    assert lines[2].startswith(f"{config.output}: 0.1 MB, accuracy ")
    info = read_info(config.output)
    assert (info.name, info.parent, info.kind, info.max_length, info.notes) == ("pruned", "whole", "torch", 32, ())
    assert info.recipe["ffn_per_layer"] == [32, 32, 32]
    assert info.recipe["trainer"]["epochs"] == 1
    assert opened(config).network.config.intermediate_size == 32


def test_everything_at_once_with_figures(config: PruneConfig, capsys: pytest.CaptureFixture[str]) -> None:
    pruning = PruningConfig(
        layers_keep=2, heads_keep=0.5, ffn_keep=0.5, budget="per_layer", ffn_multiple=4, calibration_texts=16
    )
    run(replace(config, pruning=pruning, magnitude=MagnitudeConfig(sparsity=0.5, pattern="2:4"), study=True))
    out = capsys.readouterr().out
    assert "50.0% of the encoder's weights are 0, which makes neither the file smaller nor the model faster" in out
    assert " 2:4\n" in out
    network = opened(config).network
    assert isinstance(network, PrunedBertForSequenceClassification)
    assert len(network.config.sizes()) == 2
    assert sparsity(prunable_weights(network)) == pytest.approx(0.5)
    for name in ("importance.svg", "cut_curves.svg", "layers.svg"):
        assert (config.output / name).read_text().lstrip().startswith("<svg")
    assert len(read_info(config.output).notes) == 2


def test_without_training_only_what_is_cut_changes(config: PruneConfig) -> None:
    run(replace(config, fine_tune=False))
    whole, cut = TorchClassifier.load(config.output.parent / "whole", 32), opened(config)
    np.testing.assert_array_equal(
        cut.network.classifier.weight.detach().numpy(), whole.network.classifier.weight.detach().numpy()
    )
    assert "trainer" not in read_info(config.output).recipe


def test_a_variant_is_pruned_again_and_keeps_its_length(config: PruneConfig) -> None:
    run(replace(config, fine_tune=False))
    again = replace(
        config,
        model=ModelConfig(path=config.output),
        output=config.output.with_name("again"),
        pruning=PruningConfig(layers_keep=1),
        fine_tune=False,
    )
    run(again)
    assert (read_info(again.output).parent, read_info(again.output).max_length) == ("pruned", 32)
    assert opened(again).network.config.num_hidden_layers == 1


def refused(config: PruneConfig) -> str:
    with pytest.raises(UserError) as refusal:
        run(config)
    assert not config.output.exists() or not (config.output / "variant.json").exists()
    return str(refusal.value)


def test_no_model_named(config: PruneConfig) -> None:
    assert refused(replace(config, model=ModelConfig())) == (
        "which model? Name the folder of a trained classifier with --model.path FOLDER"
    )


def test_an_empty_folder(config: PruneConfig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused(replace(config, model=ModelConfig(path=tmp_path / "empty"))) == (
        f"--model.path {tmp_path / 'empty'}: is no model folder (no config.json in it)"
    )


def test_a_folder_with_other_things_is_not_replaced(config: PruneConfig) -> None:
    config.output.mkdir()
    (config.output / "letter.txt").write_text("dear")
    assert refused(config) == f"--output {config.output}: is there and holds no variant: name another folder"
    assert (config.output / "letter.txt").read_text() == "dear"


def test_a_model_without_such_layers(config: PruneConfig, tmp_path: Path) -> None:
    (tmp_path / "albert").mkdir()
    other_classifier("albert").save(tmp_path / "albert")
    message = refused(replace(config, model=ModelConfig(path=tmp_path / "albert")))
    assert message.startswith("a model of type albert cannot be pruned: its layers are not known")


def test_a_quantised_model(config: PruneConfig, tmp_path: Path) -> None:
    whole = TorchClassifier.load(tmp_path / "whole", 32)
    info = VariantInfo(
        name="int8", kind="torch", labels=whole.labels, max_length=32, parent="whole", on_load="torchao_int8_dynamic"
    )
    write_variant(tmp_path / "int8", info, whole.save)
    assert refused(replace(config, model=ModelConfig(path=tmp_path / "int8"))) == (
        f"--model.path {tmp_path / 'int8'}: is quantised or exported: name what it was made from (whole)"
    )


def test_a_learning_rate_that_explodes(config: PruneConfig) -> None:
    message = refused(replace(config, trainer=TrainerConfig(epochs=20, learning_rate=1e30)))
    assert message.startswith("the loss is nan at step ")
    assert message.endswith("lower the learning rate (--trainer.learning_rate 1e+30)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pruning": PruningConfig()},
            "nothing is to be cut: set --pruning.ffn_keep, --pruning.heads_keep, --pruning.layers_keep or "
            "--magnitude.sparsity",
        ),
        (
            {"magnitude": MagnitudeConfig(sparsity=0.5), "fine_tune": False},
            "--magnitude.sparsity is reached during training: leave out --fine_tune False",
        ),
        ({"seed": -1}, "--seed -1 is outside 0 … 4294967295"),
    ],
)
def test_settings_that_do_not_go_together(config: PruneConfig, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        replace(config, **settings)
    assert str(refusal.value) == message
