"""`distil` from its settings to a variant that can be opened, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_optimization.commands.distil import CONTROLS_FILE, run
from model_optimization.config.data import DataConfig
from model_optimization.config.distil import DistilConfig
from model_optimization.config.distillation import (
    ControlsConfig,
    DistillationConfig,
    MaskedLanguageConfig,
    StudentConfig,
)
from model_optimization.config.model import ModelConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.data import in_labels_of
from model_optimization.distillation.plain_texts import read_plain_texts
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Splits, Texts
from model_optimization.variants import VARIANT_FILE, load_variant, read_info
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier, tiny_tokenizer

ROWS = [
    (f"{text} {word}", "positive" if place % 2 else "negative") for place, text in enumerate(TEXTS) for word in TEXTS
]


@pytest.fixture
def config(tmp_path: Path) -> DistilConfig:
    tiny_classifier(tmp_path / "teacher", layers=4)
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS))
    return DistilConfig(
        output=tmp_path / "student",
        model=ModelConfig(path=tmp_path / "teacher", max_length=32),
        data=DataConfig(path=tmp_path / "texts.csv"),
        student=StudentConfig(ffn=32),
        trainer=TrainerConfig(epochs=1, batch_size=8),
    )


def opened(config: DistilConfig) -> TorchClassifier:
    classifier = load_variant(config.output)
    assert isinstance(classifier, TorchClassifier)
    return classifier


def message(config: DistilConfig) -> str:
    with pytest.raises(UserError) as caught:
        run(config)
    assert not (config.output / VARIANT_FILE).exists()
    return str(caught.value)


def test_a_student_is_made_and_can_be_opened(config: DistilConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run(config)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"0.0 million parameters teach 0.0 million on 46 texts of {config.data.path}"
    assert lines[1] == "the teacher reads 46 texts"
    assert [line.split(":")[0] for line in lines[2:]] == [
        "step 0",
        "step 6",
        "teacher",
        "student",
        "labelled differently by the two",
        str(config.output),
    ]
    info = read_info(config.output)
    assert (info.name, info.parent, info.kind, info.max_length, info.notes) == ("student", "teacher", "torch", 32, ())
    assert info.recipe["method"] == "distillation"
    assert info.recipe["distillation"]["temperature"] == 2.0
    assert "mlm" not in info.recipe
    assert 0 <= info.recipe["test"]["flips"] <= 1
    shape = opened(config).network.config
    assert (shape.num_hidden_layers, shape.intermediate_size) == (2, 32)


def test_all_stages_and_the_controls(config: DistilConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.txt").write_text("a clever plot\n\nthe film is fine\n")
    (tmp_path / "more.txt").write_text("so weak and boring\n" + "\n".join(text for text, _ in ROWS))
    run(
        replace(
            config,
            mlm=MaskedLanguageConfig(texts=tmp_path / "plain"),
            distillation=DistillationConfig(
                hidden_weight=0.1,
                attention_weight=0.1,
                relation_weight=0.1,
            ),
            controls=ControlsConfig(seeds=2),
            unlabelled=tmp_path / "more.txt",
        )
    )
    out = capsys.readouterr().out
    assert "the student guesses words of 2 plain texts\n" in out
    assert "the teacher has no word prediction" in out
    assert f"{tmp_path / 'more.txt'}: left out 0 lines that are too long and 64 texts" in out
    assert " on 47 texts of " in out  # of the file, all but one are in the parts already
    assert out.count("the teacher reads") == 1  # all trainings share what it answered
    record = json.loads((config.output / CONTROLS_FILE).read_text())
    assert list(record["arms"]) == ["distilled", "labels_only", "random_init"]
    assert [one["seed"] for one in record["arms"]["distilled"]["seeds"]] == [1337, 1338]
    assert read_info(config.output).notes == (record["verdict"],)
    assert f"{record['verdict']}\n" in out
    for name in ("controls.png", "learning_curves.png"):
        assert (config.output / name).read_bytes().startswith(b"\x89PNG")
    opened(config)


def test_another_encoder_teaches_the_words(config: DistilConfig, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("a clever plot\nthe film is fine\n")
    encoder = tiny_classifier(layers=3)
    encoder.network.get_submodule("bert").save_pretrained(tmp_path / "encoder")  # type: ignore[operator]
    encoder.tokenizer.save_pretrained(tmp_path / "encoder")
    mlm = MaskedLanguageConfig(texts=tmp_path / "plain.txt", teacher=str(tmp_path / "encoder"))
    run(replace(config, mlm=mlm))
    assert read_info(config.output).recipe["mlm"]["teacher"] == str(tmp_path / "encoder")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["wonderful"])
    tokenizer.save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError) as caught:
        run(replace(config, mlm=mlm))
    assert str(caught.value) == (
        f"--mlm.teacher {tmp_path / 'encoder'}: cuts texts into other tokens than the student: use another one"
    )


def test_a_student_of_ones_own(config: DistilConfig, tmp_path: Path) -> None:
    tiny_classifier(tmp_path / "own", layers=1, hidden=16)
    run(replace(config, student=StudentConfig(path=tmp_path / "own")))
    assert opened(config).network.config.hidden_size == 16
    tiny_classifier(tmp_path / "other", labels=("bad", "good"))
    other = replace(config, output=tmp_path / "x", student=StudentConfig(path=tmp_path / "other"))
    assert message(other).startswith("the student's labels (bad, good) are not the teacher's (negative, positive): ")


def test_what_is_refused(config: DistilConfig, tmp_path: Path) -> None:
    assert message(replace(config, student=StudentConfig(layers=(4,)))) == (
        "--student.layers 4: the teacher has the layers 0 to 3; name each once"
    )
    assert message(replace(config, unlabelled=tmp_path / "none.txt")) == (
        f"--unlabelled {tmp_path / 'none.txt'}: there is no such file, and no folder with .txt files"
    )
    high = replace(config.trainer, learning_rate=1e30)
    found = message(replace(config, trainer=high))
    assert found.startswith("the loss is nan at step ")
    assert found.endswith(": lower the learning rate (--trainer.learning_rate, or --mlm.learning_rate)")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    assert message(replace(config, output=tmp_path / "taken")) == (
        f"--output {tmp_path / 'taken'}: is there and holds no variant: name another folder"
    )


def splits(labels: tuple[str, ...]) -> Splits:
    part = Texts(texts=("a", "b"), targets=np.array([0, 1]))
    return Splits(labels=labels, train=part, validation=part, test=part, origin="made")


def test_labels_are_numbered_as_the_models() -> None:
    classifier = tiny_classifier(labels=("negative", "positive"))
    for labels in (("pos", "neg"), ("Positive", "NEGATIVE")):
        found = in_labels_of(classifier.labels, splits(labels))
        assert found.labels == ("negative", "positive")
        assert found.test.targets.tolist() == [1, 0]


@pytest.mark.parametrize("labels", [("negative", "neutral"), ("n", "p")])
def test_labels_that_the_model_does_not_know(labels: tuple[str, ...]) -> None:
    classifier = tiny_classifier(labels=("negative", "neither", "positive"))
    wrong = "neutral" if "neutral" in labels else "n"
    with pytest.raises(UserError) as caught:
        in_labels_of(classifier.labels, splits(labels))
    assert str(caught.value) == (
        f"the data has the label {wrong!r}, but the model knows negative, neither, positive: give texts with its labels"
    )


def test_plain_texts_are_read_once_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\ufeffa  good film\r\n\na good film\nA Test\n" + "x" * 20_001, encoding="utf-8")
    assert read_plain_texts(file, "--mlm.texts", without=("a test",)) == ("a good film",)
    assert capsys.readouterr().out == (f"{file}: left out 1 lines that are too long and 1 texts of the other parts\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b" \n", "holds no text (one a line, of at most 20,000 characters)"),
        (b"ok\n\xff", "byte 3 is not UTF-8: convert the file first"),
    ],
)
def test_plain_texts_that_are_none(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_plain_texts(file, "--mlm.texts")
    assert str(caught.value) == f"--mlm.texts {file}: {reason}"
