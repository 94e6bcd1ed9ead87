"""Results of the comparison that are kept: under which key, and what is done with a damaged one."""

from dataclasses import replace

import pytest

from bert_sentiment.comparison import keys, measuring
from bert_sentiment.comparison.data_sets import NamedSplits
from bert_sentiment.comparison.fitting import Fit
from bert_sentiment.comparison.keys import digest, fit_key
from bert_sentiment.comparison.results import Result, ResultCache
from bert_sentiment.config import CompareConfig, PreprocessingConfig
from bert_sentiment.config.compare import ModelSpec
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError

from .helpers import QUICK_TRAINER, TINY_SCRATCH, TWO_LABELS, named


def key_of(config: CompareConfig, model: str, data: NamedSplits | None = None) -> str:
    data = data or named("one")
    return digest(fit_key(Fit(ModelSpec.parse(model), data, 1.0, data.splits.train), config))


def test_a_key_changes_with_all_that_changes_a_figure_and_with_nothing_else(encoder_folder, tmp_path, monkeypatch):
    config = CompareConfig(trainer=QUICK_TRAINER)
    models = ("majority", "tfidf", "scratch", f"frozen:{encoder_folder('bert')}", f"finetune:{encoder_folder('bert')}")

    def changed(other: CompareConfig, data: NamedSplits | None = None) -> list[str]:
        return [model.split(":")[0] for model in models if key_of(other, model, data) != before[model]]

    before = {model: key_of(config, model) for model in models}
    assert len(set(before.values())) == len(models)
    everyone = [model.split(":")[0] for model in models]
    assert changed(replace(config, n_resamples=5, shares=(0.5,), cache=tmp_path)) == []
    assert changed(replace(config, trainer=replace(QUICK_TRAINER, threads=2))) == []
    assert changed(config, NamedSplits("another name", named("one").splits)) == []
    assert changed(replace(config, trainer=replace(QUICK_TRAINER, learning_rate=1e-3))) == ["scratch", "finetune"]
    assert changed(replace(config, min_steps=7)) == ["scratch", "finetune"]
    assert changed(replace(config, run=RunConfig(seed=2))) == ["scratch", "finetune"]
    assert changed(replace(config, scratch=TINY_SCRATCH)) == ["scratch"]
    assert changed(replace(config, preprocessing=PreprocessingConfig(html=False))) == ["scratch", "frozen", "finetune"]
    own = NamedSplits("one", named("one").splits, {"html": False})
    assert changed(config, own) == ["scratch", "frozen", "finetune"]
    assert changed(config, NamedSplits("one", named("one").splits, {"html": True})) == []
    assert changed(config, named("one", seed=9)) == everyone
    monkeypatch.setattr(keys, "version", lambda name: "1.0" if name == "scikit-learn" else "2.0")
    assert changed(config) == ["tfidf", "scratch", "frozen", "finetune"]


def test_other_weights_in_a_folder_are_another_model(tmp_path):
    for name, content in (("config.json", b"{}"), ("model.safetensors", b"weights")):
        (tmp_path / name).write_bytes(content)
    before = keys.weights_digest(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"others!")
    assert keys.weights_digest(str(tmp_path)) != before
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert keys.weights_digest(str(tmp_path)) == before


RESULT = Result((0, 1, 1), TWO_LABELS, 1.5, 10, 4)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text[:40], "it is no JSON"),
        (lambda text: text.replace('"predicted": [0, 1, 1]', '"predicted": [0, 1, 0]'), "its checksum does not agree"),
        (lambda text: "[]", "it holds no result"),
        (lambda text: "", "it is no JSON"),
    ],
)
def test_a_damaged_result_is_named_and_absent(damage, why, tmp_path, capsys):
    cache = ResultCache(tmp_path)
    cache.put({"a": 1}, RESULT, "a model on some texts")
    assert cache.get({"a": 1}) == RESULT
    assert cache.get({"a": 2}) is None
    path = next(tmp_path.glob("*.json"))
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert ResultCache(tmp_path).get({"a": 1}) is None
    assert capsys.readouterr().err == f"{path}: the kept result is damaged ({why}), it is measured again\n"


def test_a_result_under_a_wrong_name_is_not_taken(tmp_path, capsys):
    cache = ResultCache(tmp_path)
    cache.put({"a": 1}, RESULT, "")
    (tmp_path / f"{digest({'a': 1})}.json").rename(tmp_path / f"{digest({'a': 2})}.json")
    assert cache.get({"a": 2}) is None
    assert "it belongs to another key" in capsys.readouterr().err


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError) as raised:
        ResultCache(tmp_path / "file" / "below")
    assert str(raised.value) == (
        f"--cache {tmp_path / 'file' / 'below'}: the folder for the results cannot be made (Not a directory): "
        "name another"
    )


def test_a_changed_test_text_is_a_test_that_was_not_done(tmp_path):
    """A model is not kept, its predictions are: another test part fits it again, and only that part is new."""
    data, other = named("one"), named("two", 3)
    fit = Fit(ModelSpec("majority"), data, 1.0, data.splits.train)
    cache, config = ResultCache(tmp_path), CompareConfig()
    assert measuring.results_of(fit, [data], config, cache)[1] is True
    assert measuring.results_of(fit, [data], config, cache)[1] is False
    assert measuring.results_of(fit, [data, other], config, cache)[1] is True
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_too_little_memory_names_the_data_set():
    data = named("one")
    fit = Fit(ModelSpec("majority"), data, 1.0, data.splits.train)
    assert measuring._reason(MemoryError(), fit) == (
        "out of memory: use a smaller --trainer.batch_size or --dataset_settings one.max_length"
    )
