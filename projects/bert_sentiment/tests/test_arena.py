"""Fine-tuning methods in training and in the arena: what is kept, resumed, measured, compared and reported."""

import gc
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from bert_sentiment.arena import command, training
from bert_sentiment.arena.figures import name_places
from bert_sentiment.arena.forgetting import encoder_features, general_texts, lost_neighbours, nearest
from bert_sentiment.arena.memory import peak_memory_mb, resident_peak_mb
from bert_sentiment.arena.processes import killed_by, train_in_process
from bert_sentiment.arena.standings import against, standings, summarise
from bert_sentiment.arena.training import best_rate, final_trials, rates_for, tuning_trials
from bert_sentiment.arena.trials import Trial, TrialResult, read_result
from bert_sentiment.cli import main
from bert_sentiment.config import (
    METHOD_NAMES,
    ArenaConfig,
    ContestConfig,
    DataConfig,
    EvaluationConfig,
    MethodConfig,
    ModelConfig,
    PreprocessingConfig,
    RatesConfig,
    SentimentConfig,
    TrainerConfig,
)
from bert_sentiment.data.types import Example, SentimentDataset, Splits
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models import callbacks
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.learning_rates import parameter_groups
from bert_sentiment.models.methods import apply_method, trained_weights
from bert_sentiment.models.trainer import TokenizedTexts, TrainingResult, train
from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, paired_bootstrap
from roadmap_shared.runs import start_run

LABELS = ("negative", "positive")
METHODS = {name: MethodConfig(name=name, rank=3, n_virtual_tokens=4, bottleneck=6) for name in METHOD_NAMES}
every_method = pytest.mark.parametrize("method", METHOD_NAMES)


def dataset(n: int, seed: int) -> SentimentDataset:
    """Texts whose label is that of the one opinion word in them."""
    draw = np.random.default_rng(seed)
    words = "the film was and it is a phone you we they plot".split()
    examples = []
    for index in range(n):
        text = list(draw.choice(words, size=draw.integers(2, 8)))
        text.append(draw.choice([["bad", "awful", "hated"], ["good", "great", "loved"]][index % 2]))
        examples.append(Example(" ".join(text), index % 2))
    return SentimentDataset(LABELS, tuple(examples), "a rule")


SPLITS = Splits(dataset(48, 0), dataset(16, 1), dataset(20, 2))
QUICK = TrainerConfig(
    epochs=3, learning_rate=2e-2, head_factor=1, warmup_share=0, patience=None, threads=1, device="cpu", metric="loss"
)


@pytest.fixture(scope="module", autouse=True)
def imported_modules_are_not_searched_for_garbage() -> Iterator[None]:
    """The Trainer collects garbage twice a training: a third of a second, of which a tiny one takes a tenth."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def fine_tune(tmp_path: Path, encoder_folder: Callable[..., Path]) -> Callable[..., tuple]:
    """Train a method on the rule; returns the model and the result."""

    def run(
        method: str, trainer: TrainerConfig = QUICK, resume: str | None = None, dropout: float = 0.1, **limits: int
    ) -> tuple[SentimentModel, TrainingResult]:
        model_config = ModelConfig(name=str(encoder_folder("bert")), dropout=dropout)
        config = SentimentConfig(
            run=RunConfig(root=tmp_path / "runs", resume=resume),
            trainer=trainer,
            model=model_config,
            method=METHODS[method],  # type: ignore[index]
        )
        with start_run(config, project="bert_sentiment", command="run") as run:
            model = build_classifier(model_config, PreprocessingConfig(max_length=40), LABELS, run.seed)
            model = apply_method(model, config.method)
            return model, train(model, SPLITS, trainer, run, **limits)

    return run


# --- training with a method -----------------------------------------------------------------------


@every_method
def test_after_training_the_network_is_the_one_its_best_evaluation_saw(fine_tune, monkeypatch, method):
    seen: list[np.ndarray] = []

    def the_first_is_best(prediction: Any) -> dict[str, float]:
        seen.append(np.array(prediction.predictions))
        return {"cross_entropy": float(len(seen)), "accuracy": 0.5, "macro_f1": 0.5}

    monkeypatch.setattr("bert_sentiment.models.trainer.compute_metrics", the_first_is_best)
    model, result = fine_tune(method)
    assert (len(seen), result.best_step, result.best_metric) == (3, 3, 1)
    sorted_texts = [
        SPLITS.validation.texts[index]
        for index in sorted(
            range(len(SPLITS.validation)), key=lambda index: -TokenizedTexts(model, SPLITS.validation).lengths[index]
        )
    ]
    np.testing.assert_allclose(model.logits(sorted_texts), seen[0], atol=1e-5)
    assert np.abs(seen[0] - seen[2]).max() > 1e-3


class Interrupter(callbacks.RunLogger):
    """Presses Ctrl-C in the middle of the second epoch."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 4:
            signal.raise_signal(signal.SIGINT)


@every_method
def test_a_training_interrupted_and_resumed_equals_one_that_was_not(fine_tune, monkeypatch, method):
    model, result = fine_tune(method)
    with monkeypatch.context() as patched:
        patched.setattr("bert_sentiment.models.trainer.RunLogger", Interrupter)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(method)
    resumed, resumed_result = fine_tune(method, resume="latest")
    assert resumed_result == result
    assert result.steps == 9
    np.testing.assert_array_equal(resumed.logits(SPLITS.test.texts), model.logits(SPLITS.test.texts))
    expected = trained_weights(model.network)
    actual = trained_weights(resumed.network)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[name], weight) for name, weight in expected.items())


def test_a_methods_checkpoint_holds_what_it_trains_and_no_more(fine_tune, tmp_path):
    model, _ = fine_tune("ia3")
    newest = tmp_path / "runs" / "bert_sentiment" / "latest" / "checkpoints" / "checkpoint-9"
    names = {path.name for path in newest.iterdir()}
    assert "trained.safetensors" in names
    assert not {"model.safetensors", "adapter_model.safetensors"} & names
    size = sum(weight.numel() for weight in trained_weights(model.network).values())
    content = (newest / "trained.safetensors").read_bytes()
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + 4 * size


@pytest.mark.parametrize("method", ["lora", "p_tuning", "adapter"])
def test_accumulation_changes_nothing_but_memory(fine_tune, method):
    quick = replace(QUICK, learning_rate=1e-3)
    whole, _ = fine_tune(method, quick, dropout=0.0)
    parts, _ = fine_tune(method, replace(quick, accumulation_steps=4), dropout=0.0)
    np.testing.assert_allclose(parts.logits(SPLITS.test.texts), whole.logits(SPLITS.test.texts), atol=1e-4)


@pytest.mark.parametrize(("max_steps", "steps"), [(2, 2), (5, 5), (100, 9)])
def test_training_ends_at_the_limit_and_is_evaluated_there(fine_tune, tmp_path, max_steps, steps):
    _, result = fine_tune("head", max_steps=max_steps)
    history = (tmp_path / "runs" / "bert_sentiment" / "latest" / "metrics.jsonl").read_text().splitlines()
    evaluated = [line["step"] for line in map(json.loads, history) if "val_loss" in line]
    assert result.steps == evaluated[-1] == steps
    assert result.seconds_per_step > 0


ADDED = ("lora_", "ia3_", "adapter", "prompt_encoder")


@every_method
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "albert", "modernbert"])
def test_each_weight_learns_at_the_rate_of_its_place(tiny_model, architecture, method):
    plain = tiny_model(architecture, max_length=40)
    try:
        network = apply_method(plain, METHODS[method]).network
    except UserError:
        pytest.skip("a dead end, see test_methods.py")
    config = TrainerConfig(learning_rate=1e-3, layer_decay=0.5, head_factor=4, weight_decay=0.1)
    groups = parameter_groups(network, config)
    found = {id(weight): (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert found.keys() == {id(weight) for weight in trained.values()}
    # ALBERT has one set of weights for all layers, which is the top layer's.
    layers = {".1.": 1e-3, ".0.": 1e-3 if architecture == "albert" else 5e-4}
    for name, weight in trained.items():
        rate, decay = found[id(weight)]
        is_factor = "ia3_" in name
        assert decay == (0.1 if weight.ndim > 1 and not is_factor else 0), name
        if "prompt_encoder" in name:
            expected = 1e-3
        elif any(f"{part}." in name for part in ("layer", "layers", "albert_layer_groups")) and "mlp_head" not in name:
            expected = next(layer_rate for place, layer_rate in layers.items() if place in name.partition("layer")[2])
        elif "embeddings" in name:
            expected = 5e-4 if architecture == "albert" else 2.5e-4
        elif "pooler" in name or "final_norm" in name or "embedding_hidden_mapping" in name:
            expected = 1e-3
        else:
            assert any(part in ("classifier", "pre_classifier", "head") for part in name.split(".")), name
            expected = 4e-3
        assert rate == pytest.approx(expected), name


# --- `run` with a method --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_run_leaves_a_model_that_predict_reads(tmp_path, encoder_folder, monkeypatch, capsys, method):
    monkeypatch.chdir(tmp_path)
    small = ["--trainer.epochs", "1", "--evaluation.n_resamples", "20", "--evaluation.n_robustness", "5"]
    small += ["--data.max_examples", "60", "--preprocessing.max_length", "40", "--trainer.threads", "1"]
    model = ["--model.name", str(encoder_folder("bert")), "--method.name", method]
    assert main(["run", *model, *small]) == 0
    folder = tmp_path / "runs" / "bert_sentiment" / "latest"
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 < summary["trained_share"] < 0.5
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    predictions = Predictor.find("latest", Path("runs")).predict([line["text"] for line in lines])
    assert [prediction.label for prediction in predictions] == [line["predicted"] for line in lines]
    assert [prediction.probability for prediction in predictions] == pytest.approx(
        [max(line["probabilities"].values()) for line in lines], abs=1e-3
    )
    by_folder = Predictor.find(str(folder / "model"), Path("runs"))
    assert by_folder.predict(["it was good"]) == Predictor.find(str(folder), Path("runs")).predict(["it was good"])
    if method == "lora":
        names = [
            name for name, _ in AutoModelForSequenceClassification.from_pretrained(folder / "model").named_modules()
        ]
        assert not any("lora" in name for name in names)
    else:
        assert sorted(path.name for path in (folder / "model").iterdir()) == ["method.json", "trained.safetensors"]
    capsys.readouterr()
    assert main(["predict", "it was good"]) == 0
    assert capsys.readouterr().out.strip()


# --- forgetting -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(12, 30), st.integers(1, 10))
def test_neighbours_are_those_of_a_brute_force_search(seed, n, k):
    features = np.random.default_rng(seed).normal(size=(n, 5))
    found = nearest(features, k)
    for row in range(n):
        cosines = {
            other: features[row] @ features[other] / np.linalg.norm(features[row]) / np.linalg.norm(features[other])
            for other in range(n)
            if other != row
        }
        assert set(found[row]) == set(sorted(cosines, key=lambda other: -cosines[other])[:k])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_turning_and_scaling_the_space_forgets_nothing(seed):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(40, 6))
    turn, _ = np.linalg.qr(draw.normal(size=(6, 6)))
    assert lost_neighbours(features, 3.5 * features @ turn) == 0


def test_forgetting_by_hand_and_by_chance():
    # On a circle: 0 and 1 are neighbours, 2 and 3; afterwards 0 and 2, 1 and 3.
    angles = np.array([0.0, 0.1, 2.0, 2.1])
    moved = angles[[0, 2, 1, 3]]
    circle, after = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (angles, moved))
    assert lost_neighbours(circle, after, k=1) == 1
    assert lost_neighbours(circle, np.stack([np.cos(angles), np.sin(angles)], axis=1), k=1) == 0
    draw = np.random.default_rng(0)
    unrelated = lost_neighbours(draw.normal(size=(400, 8)), draw.normal(size=(400, 8)))
    assert unrelated == pytest.approx(1 - 10 / 399, abs=0.01)


@every_method
def test_features_are_those_of_the_texts_own_tokens(tiny_model, method):
    texts = ["the film was good !", "bad", "i really loved this phone , it is great"]
    plain = tiny_model("bert", max_length=40)
    expected = plain.features(texts)
    np.testing.assert_allclose(encoder_features(plain, texts), expected, atol=1e-6)
    model = apply_method(plain, METHODS[method])
    actual = encoder_features(model, texts)
    if method in ("prefix", "p_tuning", "prompt"):
        assert np.abs(actual - expected).max() > 1e-4
        alone = np.concatenate([encoder_features(model, [text]) for text in texts])
        np.testing.assert_allclose(actual, alone, atol=1e-5)
    else:
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert not model.network.training


def test_general_texts_are_prose_and_all_different():
    texts = general_texts(50)
    assert len(set(texts)) == len(texts) == 50
    assert all(text.endswith(".") and 8 <= len(text.split()) <= 80 and "\n" not in text for text in texts)
    assert general_texts(50) == texts


# --- rates, trials, standings ---------------------------------------------------------------------


def arena_config(root: Path, encoder: Path | str = "minilm", **contest: Any) -> ArenaConfig:
    return ArenaConfig(
        run=RunConfig(root=root, seed=5),
        data=DataConfig(max_examples=40),
        preprocessing=PreprocessingConfig(max_length=40),
        model=ModelConfig(name=str(encoder)),
        method=MethodConfig(rank=3, n_virtual_tokens=4, bottleneck=6),
        arena=ContestConfig(**{"max_steps": 3, "n_seeds": 2, "n_forgetting": 20, "isolate": False} | contest),
        trainer=replace(QUICK, metric="macro_f1", learning_rate=1e-3, head_factor=2),
        evaluation=EvaluationConfig(n_resamples=200),
    )


def test_the_classification_layer_learns_at_the_same_rate_with_every_method():
    config = TrainerConfig(learning_rate=1e-4, head_factor=10)
    lora = rates_for(Trial("lora", 5e-3, 0), config)
    assert (lora.learning_rate, lora.learning_rate * lora.head_factor) == (5e-3, pytest.approx(1e-3))
    head = rates_for(Trial("head", 2e-2, 0), config)
    assert (head.learning_rate, head.head_factor) == (2e-2, 1)


def test_the_tuning_seed_is_none_of_the_tested_ones(tmp_path):
    config = arena_config(tmp_path, n_seeds=3)
    assert [trial.rate for trial in tuning_trials(config, "full")] == [5e-5, 2e-4]
    assert {trial.seed for trial in tuning_trials(config, "full")} == {5}
    assert final_trials(config, "full", 2e-4) == [Trial("full", 2e-4, seed) for seed in (6, 7, 8)]


@pytest.mark.parametrize(
    ("metric", "scores", "best"),
    [
        ("macro_f1", (0.5, 0.7), 2e-3),
        ("macro_f1", (0.7, 0.7), 5e-4),
        ("loss", (0.5, 0.7), 5e-4),
        ("accuracy", (None, 0.3), 2e-3),
        ("loss", (None, None), None),
    ],
)
def test_the_best_rate_is_that_of_the_validation_texts(tmp_path, metric, scores, best):
    config = arena_config(tmp_path)
    config = replace(config, trainer=replace(config.trainer, metric=metric))
    assert best_rate(config, "lora", tmp_path) is None
    for trial, score in zip(tuning_trials(config, "lora"), scores, strict=True):
        trial.folder(tmp_path).mkdir(parents=True)
        TrialResult(validation=score, failure=None if score else "diverged").write(trial.folder(tmp_path))
    assert best_rate(config, "lora", tmp_path) == best


def test_a_trial_is_read_as_it_was_written(tmp_path):
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    result = TrialResult(trained=3, total=9, steps=4, validation=0.1 + 0.2, probabilities=probabilities)
    assert read_result(tmp_path) is None
    result.write(tmp_path)
    read = read_result(tmp_path)
    assert read is not None
    assert read.probabilities is not None
    assert replace(read, probabilities=None) == replace(result, probabilities=None)
    np.testing.assert_array_equal(read.probabilities, probabilities)
    (tmp_path / "probabilities.npy").write_bytes(b"PK")
    with pytest.raises(UserError) as failure:
        read_result(tmp_path)
    assert str(failure.value).startswith(f"{tmp_path}: is damaged (")
    assert str(failure.value).endswith("): remove the folder and resume the arena")


def tried(predicted: list[int], **figures: Any) -> TrialResult:
    probabilities = np.full((len(predicted), 2), 0.1)
    probabilities[np.arange(len(predicted)), predicted] = 0.9
    costs = {"trained": 10, "total": 1000, "steps": 3, "file_bytes": 44, "forgetting": 0.25, "validation": 0.5}
    return TrialResult(**costs | figures, probabilities=probabilities)


def test_a_standing_by_hand(tmp_path):
    config, targets = arena_config(tmp_path), [0, 0, 1, 1]
    finals = [
        tried([0, 0, 1, 1], seconds_per_step=2.0, forgetting=0.1),
        tried([0, 1, 1, 0], seconds_per_step=4.0, forgetting=0.3),
    ]
    tuned = [TrialResult(seconds_per_step=9.0, peak_memory_mb=700.0), TrialResult()]
    standing = summarise(config, "lora", 2e-3, finals, tuned, targets)
    assert standing.correct.tolist() == [1, 0.5, 1, 0.5]
    assert standing.accuracy.estimate == 0.75
    assert standing.accuracy_spread == pytest.approx(0.5 / 2**0.5)
    assert (standing.macro_f1, standing.macro_f1_spread) == (pytest.approx(0.75), pytest.approx(0.5 / 2**0.5))
    assert 0.5 <= standing.accuracy.low < 0.75 < standing.accuracy.high <= 1
    assert (standing.seconds_per_step, standing.peak_memory_mb, standing.file_bytes) == (4.0, 700.0, 44)
    assert (standing.share, standing.forgetting, standing.on_edge) == (0.01, pytest.approx(0.2), True)
    wide = replace(config, rates=RatesConfig(lora=(1e-3, 2e-3, 4e-3)))
    assert not summarise(wide, "lora", 2e-3, finals, tuned, targets).on_edge


def test_the_best_is_told_from_a_bad_one_and_not_from_one_like_it(tmp_path):
    config, draw = arena_config(tmp_path), np.random.default_rng(0)
    targets = draw.integers(2, size=200)

    def with_accuracy(share: float) -> list[TrialResult]:
        return [tried(np.where(draw.random(200) < share, targets, 1 - targets).tolist()) for _ in range(2)]

    good, like_it, bad = (
        summarise(config, "lora", 2e-3, with_accuracy(share), [], targets.tolist()) for share in (0.9, 0.89, 0.6)
    )
    compared = against(bad, good, 200)
    expected = paired_bootstrap(good.correct, bad.correct, n_resamples=200)
    assert compared.against_best == expected
    assert expected.difference == pytest.approx(bad.accuracy.estimate - good.accuracy.estimate)
    assert compared.is_told_apart
    assert not against(like_it, good, 200).is_told_apart
    assert not good.is_told_apart


def test_names_in_the_figure_keep_apart():
    def standing(method: str, share: float, accuracy: float) -> Any:
        return SimpleNamespace(method=method, share=share, accuracy=Interval(accuracy, accuracy - 0.1, accuracy + 0.1))

    methods = [("full", 1, 0.8), ("lora", 0.0144, 0.79), ("dora", 0.016, 0.79), ("p_tuning", 0.0196, 0.79)]
    places = {place[0].method: place[1:] for place in name_places([standing(*each) for each in methods])}
    assert places["full"] == (7, 0.8)
    assert places["lora"] == (-7, 0.79)
    assert places["dora"] == (7, 0.79)
    assert places["p_tuning"] == (7, pytest.approx(0.79 + 0.05 * 0.21))


# --- the arena ------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """The trainings that are started, in their order."""
    started: list[str] = []
    original = training.train

    def counting(model: Any, splits: Any, config: Any, run: Any, max_steps: Any) -> Any:
        started.append("/".join(run.folder.parts[-2:]))
        return original(model, splits, config, run, max_steps)

    monkeypatch.setattr(training, "train", counting)
    return started


def test_an_arena_is_continued_and_one_more_method_costs_its_own_trainings(
    tmp_path, encoder_folder, counted, monkeypatch, capsys
):
    config = arena_config(tmp_path, encoder_folder("bert"), methods=("head", "ia3"))
    original = training.train

    def interrupted(*arguments: Any) -> Any:
        if len(counted) == 5:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(training, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            command.run(config)
    assert counted == [
        *("head/rate-0.001-seed-5", "head/rate-0.01-seed-5"),
        *(f"head/rate-{rate}-seed-{seed}" for seed in (6, 7) for rate in [counted[2].split("-")[1]]),
        "ia3/rate-0.005-seed-5",
    ]
    counted.clear()
    resumed = replace(config, run=replace(config.run, resume="latest"))
    summary = command.run(resumed)
    assert len(counted) == 3
    assert all(name.startswith("ia3") for name in counted)
    counted.clear()
    again = command.run(replace(resumed, arena=replace(config.arena, methods=("head", "ia3", "prompt"))))
    assert len(counted) == 4
    assert all(name.startswith("prompt") for name in counted)
    same = ("accuracy_head", "accuracy_ia3_low", "rate_ia3", "forgetting_ia3")
    assert [again[name] for name in same] == [summary[name] for name in same]
    assert summary["forgetting_head"] == 0
    folder = tmp_path / "bert_sentiment" / "latest"
    assert not list(folder.glob("arena/*/*/checkpoints"))
    assert capsys.readouterr().err


def test_dead_ends_stand_in_the_report_with_their_reason(tmp_path, encoder_folder, monkeypatch):
    config = arena_config(tmp_path, encoder_folder("distilbert"), methods=("head", "prefix", "lora"))
    config = replace(config, rates=RatesConfig(lora=(1e-3, 1e30)), trainer=replace(config.trainer, clip_norm=0.0))
    summary = command.run(config)
    assert summary["best_method"] in ("head", "lora")
    assert "accuracy_prefix" not in summary
    assert 0 <= summary["baseline_tfidf_accuracy"] <= 1
    folder = tmp_path / "bert_sentiment" / "latest"
    page = (folder / "report.html").read_text()
    assert "dead end: --method.name prefix: the attention of distilbert takes no keys and values from outside" in page
    assert "training diverged" in page
    assert "chosen" in page
    assert (folder / "figures" / "accuracy_by_share.png").is_file()
    outcome = standings(config, folder / "arena", [0] * 40, {"lora": "its process was ended"})
    assert [standing.method for standing in outcome.ranked] == ["head"]
    assert outcome.dead_ends["lora"] == "its process was ended"
    assert [(score.chosen, score.failure is None) for score in outcome.rates["lora"]] == [(True, True), (False, False)]


def test_an_arena_of_dead_ends_alone_is_one_line(tmp_path, encoder_folder):
    config = arena_config(tmp_path, encoder_folder("albert"), methods=("prefix",))
    with pytest.raises(UserError) as failure:
        command.run(config)
    assert str(failure.value) == (
        "no method could be trained. prefix: --method.name prefix: the attention of albert takes no keys and values "
        "from outside (that of bert and roberta does). Use prompt or p_tuning for virtual tokens, or lora"
    )


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError) as failure:
        command.run(arena_config(tmp_path))
    assert str(failure.value) == "the arena trains in one process: start it without torchrun or accelerate launch"


def test_a_method_in_a_process_of_its_own(tmp_path, encoder_folder):
    config = arena_config(tmp_path, encoder_folder("bert"), methods=("bitfit",), max_steps=1)
    with start_run(config, project="bert_sentiment", command="arena") as run:
        (run.folder / "arena").mkdir()
        assert train_in_process(run.folder, "bitfit") is None
        results = [read_result(path) for path in sorted((run.folder / "arena" / "bitfit").iterdir())]
    assert len(results) == 4
    peaks = [result.peak_memory_mb for result in results if result and result.peak_memory_mb]
    assert len(peaks) == 1
    assert 100 < peaks[0] < 10_000


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (130, KeyboardInterrupt, ""),
        (2, UserError, "the training of lora ended with the message above"),
        (1, RuntimeError, "the process that trains lora ended with exit code 1: see its traceback above"),
    ],
)
def test_how_a_process_ends(tmp_path, monkeypatch, code, error, message):
    ended = SimpleNamespace(wait=lambda: code)
    monkeypatch.setattr("bert_sentiment.arena.processes.subprocess.Popen", lambda *a, **k: ended)
    with pytest.raises(error) as failure:
        train_in_process(tmp_path, "lora")
    assert str(failure.value) == message


def test_ctrl_c_is_passed_on_and_waited_for(tmp_path, monkeypatch):
    events: list[Any] = []

    def wait() -> int:
        if not events:
            events.append("waiting")
            raise KeyboardInterrupt
        return 0

    ended = SimpleNamespace(wait=wait, send_signal=events.append)
    monkeypatch.setattr("bert_sentiment.arena.processes.subprocess.Popen", lambda *a, **k: ended)
    with pytest.raises(KeyboardInterrupt):
        train_in_process(tmp_path, "lora")
    assert events == ["waiting", signal.SIGINT]


def test_a_killed_process_is_a_dead_end(tmp_path, monkeypatch):
    ended = SimpleNamespace(wait=lambda: -signal.SIGKILL)
    monkeypatch.setattr("bert_sentiment.arena.processes.subprocess.Popen", lambda *a, **k: ended)
    reason = train_in_process(tmp_path, "full")
    assert reason == (
        "its process was ended by SIGKILL: most likely the memory did not suffice. A resumed arena tries it again"
    )
    assert killed_by(signal.SIGTERM) == "its process was ended by SIGTERM. A resumed arena tries it again"


def test_memory_on_a_cpu_counts_once_a_process():
    cpu = torch.device("cpu")
    assert peak_memory_mb(cpu, fresh_process=False) is None
    before = resident_peak_mb()
    block = np.ones(5_000_000, dtype=np.float64)
    after = peak_memory_mb(cpu, fresh_process=True)
    assert after is not None
    assert after >= before
    assert after > block.nbytes / 1e6


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RatesConfig(lora=()), "--rates.lora is empty: give different numbers above 0"),
        (lambda: RatesConfig(head=(0.0, 1.0)), "--rates.head 0 1: give different numbers above 0"),
        (lambda: RatesConfig(ia3=(0.1, 0.1)), "--rates.ia3 0.1 0.1: give different numbers above 0"),
        (lambda: ContestConfig(methods=()), "--arena.methods is empty: give each method once"),
        (lambda: ContestConfig(methods=("lora", "lora")), "--arena.methods lora lora: give each method once"),
        (lambda: ContestConfig(max_steps=0), "--arena.max_steps 0 must be at least 1"),
        (lambda: ContestConfig(n_seeds=1), "--arena.n_seeds 1 must be at least 2"),
        (lambda: ContestConfig(n_forgetting=5), "--arena.n_forgetting 5 must be at least 20"),
        (
            lambda: ArenaConfig(method=MethodConfig(name="lora")),
            "--method.name lora: the arena takes a list, --arena.methods",
        ),
        (
            lambda: ArenaConfig(trainer=TrainerConfig(patience=2)),
            "--trainer.patience must be None in the arena: every method gets the same number of steps",
        ),
    ],
)
def test_config_names_the_flag(build, message):
    with pytest.raises(ValueError) as failure:
        build()
    assert str(failure.value) == message
