"""Configs from YAML and the command line: precedence, types, round trips, and every message."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import tyro
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roadmap_shared.config import (
    RunConfig,
    TrackingConfig,
    config_differences,
    config_source,
    load_config,
    parse_config,
    to_yaml,
)
from roadmap_shared.errors import UserError


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    n_heads: int = 4
    """Attention heads, at least 1."""
    width: int = 128
    """Width of the residual stream."""
    norm: Literal["layer", "rms"] = "layer"
    """Normalisation."""

    def __post_init__(self) -> None:
        if self.width % self.n_heads:
            raise ValueError(f"--model.width {self.width} is not a multiple of\n--model.n_heads {self.n_heads}")


@dataclass(kw_only=True, frozen=True)
class TrainerConfig:
    learning_rate: float = 1e-3
    """Peak learning rate."""
    max_steps: int | None = None
    """Optimiser steps; None goes by epochs."""
    compile: bool = False
    """Whether to compile."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the two moments."""
    layers: list[int] = field(default_factory=list)
    """Layers to train."""


@dataclass(kw_only=True, frozen=True)
class DataConfig:
    path: Path | None = None
    """Text file."""
    prompts: tuple[str, ...] = ("The ",)
    """Prompts to sample from."""
    separator: str = "\n"
    """Between two documents."""


@dataclass(kw_only=True, frozen=True)
class ToyConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass(kw_only=True, frozen=True)
class DoctorConfig:
    target: tyro.conf.Positional[str]
    """Class to examine, `module:Class`."""
    width: int = 16
    """Width to build it with."""


@dataclass(kw_only=True, frozen=True)
class GenerateConfig:
    prompt: tyro.conf.Positional[str] = "Once"
    """Text to continue."""
    top_k: int | None = None
    """Candidates kept."""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A folder of shipped configs: default.yaml and full.yaml."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "default.yaml").write_text("trainer:\n  max_steps: 20\n")
    (folder / "full.yaml").write_text("model:\n  width: 512\n  norm: rms\ntrainer:\n  learning_rate: 3e-4\n")
    return folder


@pytest.fixture
def parse(configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Parse arguments as a command would; `yaml` becomes my.yaml and is passed as --config."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, yaml: str | bytes | None = None, config_class: type = ToyConfig, default=None) -> Any:
        if yaml is not None:
            Path("my.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
            arguments = ("--config", "my.yaml", *arguments)
        return parse_config(
            config_class, arguments, prog="toy run", description="Toy.", configs=configs, default=default
        )

    return call


@pytest.fixture
def error_of(parse):
    """Return the message of the UserError that the arguments cause, checked to be one line."""

    def call(*arguments: str, **kwargs: Any) -> str:
        with pytest.raises(UserError) as caught:
            parse(*arguments, **kwargs)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return call


def test_command_line_beats_yaml_beats_class(parse):
    yaml = "trainer:\n  learning_rate: 1e-2\n  max_steps: 7\n"
    config = parse("--trainer.learning_rate", "0.5", yaml=yaml)
    assert config == ToyConfig(trainer=TrainerConfig(learning_rate=0.5, max_steps=7))


@pytest.mark.parametrize(
    ("arguments", "width", "max_steps", "source"),
    [
        ((), 128, 20, "default"),
        (("--config", "full"), 512, None, "full"),
        (("--config=full",), 512, None, "full"),
        (("--config", "full", "--config", "default"), 128, 20, "default"),
    ],
)
def test_config_names_a_shipped_file(parse, arguments, width, max_steps, source):
    config = parse(*arguments, default="default")
    assert (config.model.width, config.trainer.max_steps, config_source(config)) == (width, max_steps, source)


def test_config_source_of_a_path_and_of_no_file(parse):
    assert config_source(parse(yaml="")) == "my.yaml"
    assert config_source(parse()) is None
    assert parse(yaml="") == parse()


def test_yaml_values_take_the_type_of_the_field(parse):
    config = parse(
        yaml="""\
model: {norm: rms, width: 1_024}
trainer:
  learning_rate: 1e-3
  max_steps: null
  compile: true
  betas: [0.8, .inf]
  layers: []
data:
  path: some/file.txt
  prompts: [yes, 010, 1.10, "null", '--trainer.max_steps', -x, "None", 2020-01-01]
  separator: ""
tracking: {backends: [wandb, tensorboard]}
run:
"""
    )
    assert config == ToyConfig(
        model=ModelConfig(norm="rms", width=1024),
        trainer=TrainerConfig(learning_rate=0.001, compile=True, betas=(0.8, math.inf)),
        data=DataConfig(
            path=Path("some/file.txt"),
            prompts=("yes", "010", "1.10", "null", "--trainer.max_steps", "-x", "None", "2020-01-01"),
            separator="",
        ),
        tracking=TrackingConfig(backends=("wandb", "tensorboard")),
    )


@pytest.mark.parametrize("none", ["null", "~", "", "None"])
def test_every_spelling_of_none_in_yaml(parse, none):
    config = parse(yaml=f"run:\n  resume: {none}\ntrainer:\n  max_steps: {none}\n", default="default")
    assert config.run.resume is None
    assert config.trainer.max_steps is None


def test_the_text_none_in_quotes_is_text(parse):
    assert parse(yaml='run: {resume: "None"}').run.resume == "None"


def test_command_line_spellings(parse):
    config = parse(
        "--trainer.learning-rate=-1e-3",
        *("--trainer.compile", "true"),
        *("--trainer.betas", "0.5", "-inf"),
        *("--data.prompts", "a b", "c"),
        "--data.separator=--",
        *("--run.resume", "None"),
        *("--tracking.backends",),
    )
    assert config.trainer == TrainerConfig(learning_rate=-1e-3, compile=True, betas=(0.5, -math.inf))
    assert config.data == DataConfig(prompts=("a b", "c"), separator="--")
    assert (config.run.resume, config.tracking.backends) == (None, ())


def test_a_list_on_the_command_line_replaces_the_one_in_yaml(parse):
    assert parse("--data.prompts", "x", yaml="data: {prompts: [a, b]}").data.prompts == ("x",)


def test_checks_see_the_merged_values_only(parse):
    config = parse("--model.n_heads", "5", yaml="model: {width: 100, n_heads: 3}")
    assert (config.model.width, config.model.n_heads) == (100, 5)


@pytest.mark.parametrize(
    ("arguments", "yaml", "target"),
    [
        (("my:Class",), "width: 8", "my:Class"),
        ((), "target: my:Class", "my:Class"),
        ((), "target: -x", "-x"),
        (("other:Class",), "target: my:Class", "other:Class"),
        (("--width", "4", "--", "-x"), "target: my:Class", "-x"),
    ],
)
def test_positional_settings(parse, arguments, yaml, target):
    assert parse(*arguments, yaml=yaml, config_class=DoctorConfig).target == target


def test_optional_positional_beside_flags(parse):
    assert parse("--top_k", "3", config_class=GenerateConfig) == GenerateConfig(top_k=3)
    assert parse("Hello", "--top_k", "3", config_class=GenerateConfig) == GenerateConfig(prompt="Hello", top_k=3)


def test_unknown_setting_in_yaml(error_of):
    message = error_of(yaml="trainer:\n  learning_rat: 1\n")
    assert message == "my.yaml: unknown setting 'trainer.learning_rat'. Did you mean 'trainer.learning_rate'?"
    assert error_of(yaml="max_steps: 1").endswith("'max_steps'. Did you mean 'trainer.max_steps'?")
    assert error_of(yaml="zzz: 1").startswith("my.yaml: unknown setting 'zzz'. Known: model.n_heads, model.width")
    assert error_of(yaml="1: 1").startswith("my.yaml: unknown setting '1'.")
    assert error_of(yaml="? [a, b]\n: 1").startswith("my.yaml: unknown setting '?'.")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--trainer.learning_rat",
            "unknown flag '--trainer.learning_rat'. Did you mean '--trainer.learning_rate'?",
        ),
        ("--learning-rate=1", "unknown flag '--learning_rate'. Did you mean '--trainer.learning_rate'?"),
        ("--zzz", "unknown flag '--zzz'. See --help."),
        ("-x", "unknown flag '-x'. See --help."),
        ("--data", "--data is a section; its settings are --data.path, --data.prompts, --data.separator"),
        ("stray", "unexpected argument 'stray'. A text with spaces needs quotes; see --help."),
        ("--trainer.max_steps", "--trainer.max_steps: needs a value: a whole number or None"),
        ("--run.seed=-1", "--run.seed -1 is outside 0 … 4294967295"),
        ("--run.name=a/b", "--run.name 'a/b' is part of a folder's name: no slash, no leading dot"),
        ("--config", "--config needs a shipped config's name or a YAML file"),
    ],
)
def test_bad_arguments(error_of, argument, message):
    assert error_of(argument) == message


def test_unknown_flag_is_found_beside_an_optional_positional(error_of):
    assert error_of("--topk", "3", config_class=GenerateConfig) == "unknown flag '--topk'. Did you mean '--top_k'?"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("trainer.learning_rate", "abc", "'abc' is not a number"),
        ("trainer.max_steps", "1e3", "'1e3' is not a whole number or None"),
        ("trainer.compile", "yes", "'yes' is not True or False"),
        ("model.norm", "batch", "'batch' is not one of 'layer', 'rms'"),
        ("trainer.betas", "0.9", "'0.9' is not 2 values (a number, a number)"),
        ("trainer.layers", "x", "'x' is not a list of values, each a whole number"),
        (
            "tracking.backends",
            "wandd",
            "'wandd' is not a list of values, each one of 'wandb', 'mlflow', 'tensorboard'",
        ),
    ],
)
def test_a_wrong_value_names_where_it_came_from(error_of, name, value, complaint):
    section, leaf = name.split(".")
    yaml = f"{section}: {{{leaf}: {value}}}"
    assert error_of(f"--{name}", value) == f"--{name}: {complaint}"
    assert error_of(yaml=yaml) == f"my.yaml: {name}: {complaint}"
    assert error_of(f"--{name}", value, yaml=yaml) == f"--{name}: {complaint}"


def test_a_wrong_value_in_a_shipped_file(error_of, configs):
    (configs / "full.yaml").write_text("model: {width: wide}")
    assert error_of("--config", "full") == "full.yaml: model.width: 'wide' is not a whole number"


def test_checks_of_the_config_itself(error_of):
    expected = "--model.width 128 is not a multiple of --model.n_heads 3"
    assert error_of("--model.n_heads", "3") == expected
    assert error_of(yaml="model: {n_heads: 3}") == expected


def test_required_settings(error_of):
    assert error_of(config_class=DoctorConfig) == "target must be given: expected a text"
    assert error_of("a", "b", config_class=DoctorConfig).startswith("unexpected argument 'b'.")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (
            "model: {width: 1\ntrainer: 2",
            "my.yaml, line 2: is not valid YAML: expected ',' or '}', but got ':'",
        ),
        ("a: b: c", "my.yaml, line 1: is not valid YAML: mapping values are not allowed here"),
        ("- 1\n- 2\n", "my.yaml: must hold settings such as 'model.n_heads: …', not a list or a bare value"),
        ("hello", "my.yaml: must hold settings such as 'model.n_heads: …', not a list or a bare value"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "my.yaml: is not a text file in UTF-8"),
        (b"run: \x00\x01", "my.yaml: is not a text file in UTF-8"),
        ("model: 3", "my.yaml: 'model' is a section: write its settings indented below it"),
        ("model: {width: {a: 1}}", "my.yaml: 'model.width' is one setting, not a section"),
        ("model: {width: [1, 2]}", "my.yaml: 'model.width' is a list; expected a whole number"),
        ("model: {width: }", "my.yaml: 'model.width' is empty; expected a whole number"),
        ("run: {seed: 1, seed: 2}", "my.yaml, line 1: 'run.seed' is set twice: keep one of them"),
        (
            "trainer: {layers: [[1]]}",
            "my.yaml: 'trainer.layers' holds a list within a list; expected a list of values, each a whole number",
        ),
    ],
)
def test_bad_yaml(error_of, yaml, message):
    assert error_of(yaml=yaml) == message


def test_missing_files(error_of, tmp_path):
    known = "The shipped configs are: default, full."
    assert error_of("--config", "no.yaml") == f"--config no.yaml: no such file. {known}"
    assert error_of("--config", "ful") == f"--config ful: no such file. Did you mean 'full'? {known}"
    assert error_of("--config", str(tmp_path)) == f"--config {tmp_path}: is a folder, not a YAML file"


def test_help_shows_the_values_after_the_yaml_file(parse, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--config", "full", "--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "usage: toy run" in text
    assert "--config NAME|FILE" in text
    assert "Peak learning rate. (default: 0.0003)" in " ".join(text.split())
    assert "--trainer.learning_rate NUMBER" in text


def test_help_of_a_command_with_a_required_argument(parse, capsys):
    with pytest.raises(SystemExit):
        parse("-h", config_class=DoctorConfig)
    assert "TARGET Class to examine, `module:Class`. (required)" in " ".join(capsys.readouterr().out.split())


def test_help_still_refuses_a_broken_file(error_of):
    assert error_of("--help", yaml="model: {width: x}") == "my.yaml: model.width: 'x' is not a whole number"


def test_fields_that_cannot_be_settings(parse):
    @dataclass(kw_only=True, frozen=True)
    class Odd:
        labels: dict[str, str] = field(default_factory=dict)

    with pytest.raises(TypeError, match=r"Odd\.labels: dict\[str, str\] cannot be a setting"):
        parse(config_class=Odd)


def test_differences_are_listed_by_dotted_name():
    old = ToyConfig()
    new = replace(old, trainer=TrainerConfig(learning_rate=0.002), data=DataConfig(path=Path("a.txt")))
    assert config_differences(old, new) == ["trainer.learning_rate: 0.001 → 0.002", "data.path: None → a.txt"]
    assert config_differences(old, ToyConfig()) == []


def test_to_yaml_reads_well():
    assert to_yaml(ToyConfig()).splitlines()[:13] == [
        *("model:", "  n_heads: 4", "  width: 128", "  norm: layer"),
        *(
            "trainer:",
            "  learning_rate: 0.001",
            "  max_steps: null",
            "  compile: false",
            "  betas: [0.9, 0.99]",
        ),
        *("  layers: []", "data:", "  path: null", "  prompts: ['The ']"),
    ]


odd_texts = st.one_of(
    st.text(),
    st.sampled_from(["null", "None", "1e3", "yes", "true", ":", "", "~", "-", "--", "--run.seed", "-x", "=", "\0None"]),
    st.sampled_from(
        ["#", "a: b", "- a", "'", '"', "\\", "\r\n", "\x85", "\u2028", "\ufeff", "中文", "🙂", " a ", "\t"]
    ),
)
toy_configs = st.builds(
    ToyConfig,
    trainer=st.builds(
        TrainerConfig,
        learning_rate=st.floats(allow_nan=False),
        max_steps=st.none() | st.integers(),
        compile=st.booleans(),
        betas=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
        layers=st.lists(st.integers(), max_size=3),
    ),
    data=st.builds(
        DataConfig,
        path=st.none() | st.sampled_from([Path("a/b c"), Path("1e3"), Path("null"), Path("-x"), Path("é")]),
        prompts=st.lists(odd_texts, max_size=3).map(tuple),
        separator=odd_texts,
    ),
    run=st.builds(RunConfig, resume=st.none() | odd_texts),
    tracking=st.just(TrackingConfig(backends=("wandb", "mlflow"))),
)


@pytest.fixture(scope="module")
def yaml_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml") / "config.yaml"


@settings(deadline=None, max_examples=60)
@given(config=toy_configs)
@example(config=ToyConfig(data=DataConfig(prompts=("null", "1e3", "yes", ":", "é", ""))))
@example(config=ToyConfig(run=RunConfig(resume="None")))
def test_round_trip_through_yaml(config, yaml_file):
    yaml_file.write_bytes(to_yaml(config).encode())
    assert load_config(ToyConfig, yaml_file) == config


def test_round_trip_of_a_positional(yaml_file):
    yaml_file.write_text(to_yaml(DoctorConfig(target="my:Class")))
    assert load_config(DoctorConfig, yaml_file) == DoctorConfig(target="my:Class")
