"""What can be asked of the comparison, and what is said of a wrong request."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from bert_sentiment.cli import main
from bert_sentiment.comparison.command import run
from bert_sentiment.comparison.data_sets import load_data_sets, read_settings
from bert_sentiment.config import CompareConfig, DataConfig, PreprocessingConfig
from bert_sentiment.config.compare import ModelSpec
from roadmap_shared.config import load_config, parsing, to_yaml
from roadmap_shared.config.settings import settings_of
from roadmap_shared.errors import UserError

KINDS = (
    "Known: majority, tfidf, scratch, and frozen:MODEL or finetune:MODEL, where MODEL is minilm, a folder or a hub id"
)
BUILT_IN = "Built in: films, products, tweets, all; write others as NAME=PATH or NAME=HUB_ID, as in mine=reviews.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "tfdif"], f"--models tfdif: unknown kind of model 'tfdif'. Did you mean 'tfidf'? {KINDS}"),
        (
            ["--models", "finetun:minilm"],
            f"--models finetun:minilm: unknown kind of model 'finetun'. Did you mean 'finetune'? {KINDS}",
        ),
        (
            ["--models", "bert-base-uncased"],
            "--models bert-base-uncased: unknown kind of model 'bert-base-uncased'. "
            f"Did you mean 'finetune:bert-base-uncased'? {KINDS}",
        ),
        (["--models", "frozen"], "--models frozen: name the encoder behind it, as in frozen:minilm"),
        (["--models", "tfidf:minilm"], "--models tfidf:minilm: tfidf takes no encoder: leave ':minilm' out"),
        (["--models", "tfidf", "tfidf"], "--models: 'tfidf' is given twice"),
        (["--datasets", "film"], f"--datasets film: unknown data set. Did you mean 'films'? {BUILT_IN}"),
        (["--datasets", "a.csv"], f"--datasets a.csv: unknown data set. {BUILT_IN}"),
        (
            ["--datasets", "films=a.csv"],
            "--datasets films=a.csv: 'films' is a built-in data set: give yours another name",
        ),
        (
            ["--datasets", "my set=a.csv"],
            "--datasets my set=a.csv: write it as NAME=PATH or NAME=HUB_ID, as in mine=reviews.csv",
        ),
        (["--datasets", "films", "films"], "--datasets: 'films' is given twice"),
        (["--shares", "10"], "--shares 10.0 must be above 0 and at most 1: 0.25 is a quarter of the texts"),
        (["--n_resamples", "0"], "--n_resamples 0 must be at least 1"),
        (["--scratch.heads", "3"], "--scratch.width 128 is not a multiple of --scratch.heads 3"),
        (["--scratch.vocabulary", "9"], "--scratch.vocabulary 9 must be at least 100"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, message, capsys):
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().err == f"bert-sentiment compare: {message}\n"


def test_a_spec_is_taken_apart_at_its_first_colon():
    assert ModelSpec.parse("finetune:C:/models/bert") == ModelSpec("finetune", "C:/models/bert")
    assert [str(ModelSpec.parse(text)) for text in ("tfidf", "frozen:minilm")] == ["tfidf", "frozen:minilm"]


def test_the_config_of_a_run_repeats_it(compare_config, tmp_path):
    config = compare_config(dataset_settings=("one.label_map=a=negative b=positive",), shares=(0.5,))
    (tmp_path / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(CompareConfig, tmp_path / "again.yaml") == config


def test_settings_of_one_data_set_go_before_those_of_all():
    items = ["one.label_map=0=negative '4=very positive'", "max_examples=50", "one.max_examples=20", "text_column=a b"]
    assert read_settings(items, ["one", "two"]) == {
        "one": {"label_map": ["0=negative", "4=very positive"], "max_examples": ["20"], "text_column": ["a", "b"]},
        "two": {"max_examples": ["50"], "text_column": ["a", "b"]},
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("one", "'one': write it as NAME.SETTING=VALUE, as in mine.test_path=test.csv"),
        ("onne.test_share=0.3", "'onne.test_share=0.3': there is no data set 'onne'. Did you mean 'one'?"),
        ("one.test_shar=0.3", "'one.test_shar=0.3': there is no setting 'test_shar'. Did you mean 'test_share'?"),
        ("one.mentoins=keep", "'one.mentoins=keep': there is no setting 'mentoins'. Did you mean 'mentions'?"),
        ("two.max_lenght=64", "'two.max_lenght=64': there is no setting 'max_lenght'. Did you mean 'max_length'?"),
        ("one.path=a.csv", "'one.path=a.csv': which texts are read is said by --datasets NAME=SOURCE"),
        ("one.label_map='0=a", "'one.label_map='0=a': No closing quotation"),
    ],
)
def test_a_wrong_data_set_setting(item, message):
    with pytest.raises(UserError) as raised:
        read_settings([item], ["one", "two"])
    assert str(raised.value) == f"--dataset_settings {message}"


def test_an_error_of_a_loader_names_the_data_set(compare_config, tmp_path):
    with pytest.raises(UserError) as raised:
        load_data_sets(compare_config(dataset_settings=("two.max_examples=many",)))
    assert str(raised.value) == (
        "data set 'two': --dataset_settings two: max_examples: 'many' is not a whole number or None"
    )
    with pytest.raises(UserError) as raised:
        load_data_sets(compare_config(dataset_settings=("one.text_column=txt",)))
    assert str(raised.value) == (
        f"data set 'one': {tmp_path / 'one.csv'}: has no column 'txt' for --dataset_settings one.text_column. "
        "Did you mean 'text'? Its columns are text, label"
    )


def test_each_data_set_has_its_own_preprocessing(compare_config):
    base = PreprocessingConfig(max_length=50, html=False)
    config = compare_config(
        preprocessing=base,
        dataset_settings=("one.max_length=256", "one.truncation=head_tail", "urls=keep", "two.urls=token"),
    )
    one, two = load_data_sets(config)
    assert one.preprocessing(config) == replace(base, max_length=256, truncation="head_tail", urls="keep")
    assert two.preprocessing(config) == base


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("one.max_length=4", "--dataset_settings one.max_length 4 must be at least 8"),
        (
            "one.truncation=middle",
            "--dataset_settings one: truncation: 'middle' is not one of 'head', 'tail', 'head_tail'",
        ),
    ],
)
def test_a_wrong_preprocessing_names_the_data_set(compare_config, item, message):
    with pytest.raises(UserError) as raised:
        load_data_sets(compare_config(dataset_settings=(item,)))
    assert str(raised.value) == f"data set 'one': {message}"


@pytest.mark.parametrize("name", ["compare", "compare_full"])
def test_the_shipped_settings_of_data_sets_can_be_read(name):
    config = load_config(CompareConfig, Path(str(files("bert_sentiment") / "configs" / f"{name}.yaml")))
    settings = read_settings(config.dataset_settings, [spec.name for spec in config.dataset_specs])
    assert set(settings) == {spec.name for spec in config.dataset_specs}
    for own in settings.values():
        cleaning = {key: value for key, value in own.items() if key in settings_of(PreprocessingConfig)}
        reading = {key: value for key, value in own.items() if key not in cleaning}
        for config_class, texts in ((PreprocessingConfig, cleaning), (DataConfig, reading)):
            parsing.parse(config_class, texts, (), prog="", description="", file_name="")


def test_it_is_not_for_several_processes(compare_config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError) as raised:
        run(compare_config())
    assert str(raised.value) == "compare trains one model after another in one process: start it without torchrun"
