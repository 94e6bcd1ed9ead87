"""The modules against scikit-learn, NumPy and values by hand, in every way in which `evaluate` uses a module."""

import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from roadmap_shared import metrics
from roadmap_shared.metrics.evaluate_modules import MODULES, load
from roadmap_shared.metrics.evaluate_modules.inputs import ALL_NAMES

oracle: Any = sklearn_metrics  # without stubs, its defaults pass for all that it accepts

N_ITEMS, N_CLASSES = 120, 3
Inputs = dict[str, Any]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def classified(seed: int = 0) -> Inputs:
    """Probabilities, the likeliest classes, and true ones that are drawn from unlike probabilities."""
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(N_CLASSES), size=N_ITEMS)
    return {
        "predictions": weights.argmax(axis=1),
        "references": np.array([generator.choice(N_CLASSES, p=row) for row in weights]),
        "probabilities": weights**2 / (weights**2).sum(axis=1, keepdims=True),
    }


def measured(seed: int = 0) -> Inputs:
    generator = np.random.default_rng(seed)
    return {
        "total_nats": generator.exponential(50, N_ITEMS),
        "n_tokens": generator.integers(0, 30, N_ITEMS),
        "n_characters": generator.integers(0, 100, N_ITEMS),
        "n_bytes": generator.integers(0, 110, N_ITEMS),
        "durations": generator.exponential(1, N_ITEMS),
    }


def tokens(seed: int = 0) -> Inputs:
    """Texts of unlike lengths, some empty; about a quarter of the true tokens do not count."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 9, N_ITEMS)
    return {
        "predictions": [generator.choice([5, 6, 7], size=length).tolist() for length in lengths],
        "references": [generator.choice([-100, 5, 6, 7], size=length).tolist() for length in lengths],
    }


# The distances are 3, 0, 1, 2 and 0, over 7 + 3 + 2 + 2 + 0 characters.
TEXTS = {"predictions": ["kitten", "yes", "你", "", ""], "references": ["sitting", "yes", "你好", "no", ""]}


def inputs_of(name: str, seed: int = 0) -> Inputs:
    """What the module of this name takes, and nothing else."""
    special = {"token_accuracy": tokens(seed), "exact_match": TEXTS, "character_error_rate": TEXTS}
    given = special.get(name, classified(seed) | measured(seed))
    return {key: given[key] for key in MODULES[name].INPUTS}


def figures_of(name: str, inputs: Inputs, **settings: Any) -> dict[str, Any]:
    figures = load(name, **settings).compute(**inputs)
    assert figures is not None
    return figures


def class_scores_by_scikit_learn(predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
    scores = oracle.precision_recall_fscore_support(references, predictions, labels=range(N_CLASSES))
    names = ("precision", "recall", "f1", "support")
    return {f"{name}_{label}": row[label] for name, row in zip(names, scores, strict=True) for label in range(3)}


def calibration_error_by_hand(probabilities: np.ndarray, references: np.ndarray) -> float:
    total = 0.0
    for low in range(10):
        members = [i for i, row in enumerate(probabilities) if low / 10 < max(row) <= (low + 1) / 10]
        total += abs(sum(max(probabilities[i]) - (np.argmax(probabilities[i]) == references[i]) for i in members))
    return total / len(references)


def one_hot(references: np.ndarray) -> np.ndarray:
    return np.eye(N_CLASSES)[references]


def token_accuracy_by_hand(predictions: list[list[int]], references: list[list[int]]) -> float:
    pairs = [pair for texts in zip(predictions, references, strict=True) for pair in zip(*texts, strict=True)]
    counted = [guess == true for guess, true in pairs if true != -100]
    return sum(counted) / len(counted)


EXPECTED: dict[str, Callable[..., Any]] = {
    "accuracy": lambda predictions, references: oracle.accuracy_score(references, predictions),
    "macro_f1": lambda predictions, references: oracle.f1_score(references, predictions, average="macro"),
    "class_scores": class_scores_by_scikit_learn,
    "cohen_kappa": lambda predictions, references: oracle.cohen_kappa_score(predictions, references),
    "expected_calibration_error": calibration_error_by_hand,
    "brier_score": lambda probabilities, references: oracle.brier_score_loss(references, probabilities),
    "negative_log_likelihood": lambda probabilities, references: oracle.log_loss(references, probabilities),
    "roc_auc": lambda probabilities, references: oracle.roc_auc_score(references, probabilities, multi_class="ovr"),
    "average_precision": lambda probabilities, references: oracle.average_precision_score(
        one_hot(references), probabilities, average="macro"
    ),
    "token_accuracy": token_accuracy_by_hand,
    "perplexity": lambda total_nats, n_tokens: np.exp(total_nats.sum() / n_tokens.sum()),
    "bits_per_character": lambda total_nats, n_characters: total_nats.sum() * math.log2(math.e) / n_characters.sum(),
    "bits_per_byte": lambda total_nats, n_bytes: total_nats.sum() * math.log2(math.e) / n_bytes.sum(),
    "exact_match": lambda predictions, references: 2 / 5,
    "character_error_rate": lambda predictions, references: 6 / 14,
    "latency_summary": lambda durations: {f"latency_p{q}": np.percentile(durations, q) for q in (50, 95, 99)},
}

every_module = pytest.mark.parametrize("name", list(MODULES))


# --- what they compute ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@every_module
def test_figures_equal_an_independent_implementation(name: str, seed: int) -> None:
    inputs = inputs_of(name, seed)
    expected = EXPECTED[name](**inputs)
    figures = figures_of(name, inputs)
    assert figures == pytest.approx(expected if isinstance(expected, dict) else {name: expected}, rel=1e-12)
    assert {type(value) for value in figures.values()} <= {float, int}


@every_module
def test_batches_and_single_items_give_what_the_whole_gives(name: str) -> None:
    inputs = inputs_of(name)
    n_items = len(next(iter(inputs.values())))
    batched, single = load(name), load(name)
    for start in range(0, n_items, 7):
        batched.add_batch(**{key: values[start : start + 7] for key, values in inputs.items()})
    singular = {"predictions": "prediction", "references": "reference"}
    for item in range(n_items):
        single.add(**{singular.get(key, key): values[item] for key, values in inputs.items()})
    assert len(batched) == len(single) == n_items
    assert batched.compute() == single.compute() == figures_of(name, inputs)


@every_module
def test_a_module_starts_anew_after_each_score(name: str) -> None:
    module, inputs = load(name), inputs_of(name)
    first = module.compute(**inputs)
    assert len(module) == 0
    assert module.compute(**inputs) == first


def test_a_module_starts_anew_after_a_failure() -> None:
    module = load("accuracy")
    with pytest.raises(ValueError, match="not empty"):
        module.compute(predictions=[], references=[])
    assert module.compute(predictions=[1, 0], references=[1, 1]) == {"accuracy": 0.5}


@pytest.mark.parametrize("kind", [list, np.ndarray.tolist, "tensor"])
def test_lists_arrays_and_tensors_give_the_same(kind: Any) -> None:
    convert = pytest.importorskip("torch").as_tensor if kind == "tensor" else kind
    for name in ("accuracy", "brier_score"):
        inputs = inputs_of(name)
        assert figures_of(name, {key: convert(values) for key, values in inputs.items()}) == figures_of(name, inputs)


def test_single_precision_probabilities_keep_their_value() -> None:
    inputs = inputs_of("negative_log_likelihood")
    inputs["probabilities"] = inputs["probabilities"].astype(np.float32)
    expected = metrics.negative_log_likelihood(inputs["probabilities"], inputs["references"])
    assert load("negative_log_likelihood").compute(**inputs) == {"negative_log_likelihood": expected}


def test_whole_numbers_pass_where_numbers_are_wanted() -> None:
    assert figures_of("brier_score", {"probabilities": [[1, 0], [0, 1]], "references": [0, 0]}) == {"brier_score": 1.0}
    assert figures_of("bits_per_byte", {"total_nats": [0, 0], "n_bytes": [3, 4]}) == {"bits_per_byte": 0.0}


# --- their settings -------------------------------------------------------------------------------


def test_the_number_of_bins_is_used() -> None:
    inputs = inputs_of("expected_calibration_error")
    expected = [metrics.expected_calibration_error(inputs["probabilities"], inputs["references"], n) for n in (4, 10)]
    figures = [load("expected_calibration_error", n_bins=n).compute(**inputs) for n in (4, 10)]
    assert figures == [{"expected_calibration_error": error} for error in expected]
    assert expected[0] != expected[1]


def test_class_scores_are_named_after_the_classes() -> None:
    module = load("class_scores", labels=["bad", "fair", "good"])
    figures = module.compute(predictions=[0, 0, 1], references=[0, 1, 1])
    assert figures == pytest.approx(
        {
            **{"precision_bad": 1 / 2, "precision_fair": 1, "precision_good": math.nan},
            **{"recall_bad": 1, "recall_fair": 1 / 2, "recall_good": math.nan},
            **{"f1_bad": 2 / 3, "f1_fair": 2 / 3, "f1_good": math.nan},
            **{"support_bad": 1, "support_fair": 2, "support_good": 0},
        },
        nan_ok=True,
    )


def test_another_token_can_be_the_ignored_one() -> None:
    inputs = {"predictions": [[1, 2], [0]], "references": [[1, 0], [0]]}
    assert load("token_accuracy", ignore_index=0).compute(**inputs) == {"token_accuracy": 1.0}
    assert load("token_accuracy").compute(**inputs) == {"token_accuracy": 2 / 3}


def test_classes_that_do_not_occur_make_no_difference() -> None:
    inputs = {"predictions": [1, 1, 4], "references": [1, 4, 4]}
    assert load("macro_f1").compute(**inputs) == {"macro_f1": metrics.macro_f1(**_targets(inputs), n_classes=9)}
    assert load("cohen_kappa").compute(**inputs) == {
        "cohen_kappa": metrics.cohen_kappa(inputs["predictions"], inputs["references"], 9)
    }


def _targets(inputs: Inputs) -> Inputs:
    return {"predictions": inputs["predictions"], "targets": inputs["references"]}


def test_a_class_that_nobody_has_is_left_out_of_the_mean_over_classes() -> None:
    probabilities, references = [[0.6, 0.3, 0.1], [0.2, 0.8, 0.0], [0.5, 0.4, 0.1]], [0, 1, 1]
    assert load("roc_auc").compute(probabilities=probabilities, references=references) == {"roc_auc": 1.0}


def test_an_infinite_loss_stays_infinite() -> None:
    assert load("perplexity").compute(total_nats=[1.0, math.inf], n_tokens=[1, 1]) == {"perplexity": math.inf}


# --- as modules of `evaluate` ---------------------------------------------------------------------


@every_module
def test_a_module_describes_itself(name: str) -> None:
    module = load(name)
    assert isinstance(module, evaluate.Metric)
    assert (module.name, module.module_type) == (name, "metric")
    assert module.description.endswith(".")
    assert list(module.features) == list(module.INPUTS)
    assert set(module.INPUTS) <= ALL_NAMES
    for key, each in module.INPUTS.items():
        assert f"    {key}: {each.meaning}\n" in module.inputs_description
        assert all(
            f"    {key}: " in (method.__doc__ or "") for method in (module.add, module.add_batch, module.compute)
        )


def test_the_papers_are_named() -> None:
    assert {name for name in MODULES if not load(name).citation} == {"accuracy", "token_accuracy"}
    assert "AAAI 2015" in load("expected_calibration_error").citation


def test_modules_are_combined() -> None:
    names = ["accuracy", "macro_f1", "expected_calibration_error", "perplexity", "bits_per_byte"]
    inputs = classified() | {key: measured()[key] for key in ("total_nats", "n_tokens", "n_bytes")}
    separate = {key: figure for name in names for key, figure in figures_of(name, inputs_of(name)).items()}
    assert evaluate.combine([load(name) for name in names]).compute(**inputs) == separate

    batched = evaluate.combine([load(name) for name in names])
    for start in range(0, N_ITEMS, 50):
        batched.add_batch(**{key: values[start : start + 50] for key, values in inputs.items()})
    assert batched.compute() == separate

    single = evaluate.combine([load(name) for name in names])
    for item in range(N_ITEMS):
        row = {key: values[item] for key, values in inputs.items()}
        single.add(row.pop("predictions"), row.pop("references"), **row)
    assert single.compute() == separate


def test_one_metric_twice_is_told_apart_by_the_names_given() -> None:
    inputs = inputs_of("expected_calibration_error")
    modules = {f"bins{n}": load("expected_calibration_error", n_bins=n) for n in (4, 10)}
    combined = evaluate.combine(modules).compute(**inputs)
    assert combined == {
        f"bins{n}_expected_calibration_error": metrics.expected_calibration_error(
            inputs["probabilities"], inputs["references"], n
        )
        for n in (4, 10)
    }


# --- where the items are kept ---------------------------------------------------------------------

EVERY_MODULE_OFFLINE = """
import socket, sys
from pathlib import Path

def refuse(*arguments, **settings):
    raise AssertionError("the network was asked for")

socket.socket.connect = socket.getaddrinfo = refuse
import roadmap_shared.metrics
assert not {"evaluate", "datasets", "pandas"} & set(sys.modules), "loaded by roadmap_shared.metrics"

from roadmap_shared.metrics.evaluate_modules import MODULES, load
kinds = {"int64": 1, "float64": 1.0, "string": "a"}
for name in MODULES:
    if name in ("roc_auc", "average_precision"):
        inputs = {"probabilities": [[0.2, 0.8], [0.6, 0.4]], "references": [1, 0]}
    elif "probabilities" in MODULES[name].INPUTS:
        inputs = {"probabilities": [[0.2, 0.8]], "references": [1]}
    else:
        values = {key: kinds[each.dtype] for key, each in MODULES[name].INPUTS.items()}
        inputs = {key: [[value] if MODULES[name].INPUTS[key].nested else value] for key, value in values.items()}
    module = load(name)
    module.add_batch(**inputs)
    print(name, module.compute())
print([str(path) for path in Path.cwd().rglob("*")])
"""


def test_no_network_and_no_file_outside_memory(tmp_path: Path) -> None:
    """In an interpreter of its own, whose home, caches and temporary files are in an empty folder."""
    hidden = ("HF_", "XDG_", "TMP", "TEMP")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-P", "-c", EVERY_MODULE_OFFLINE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *figures, files = result.stdout.splitlines()
    assert [line.split()[0] for line in figures] == list(MODULES)
    assert files == "[]"
    assert list(tmp_path.iterdir()) == []


def test_items_are_kept_in_a_folder_on_request(tmp_path: Path) -> None:
    module = load("accuracy", cache_dir=str(tmp_path))
    module.add_batch(predictions=[1, 0], references=[1, 1])
    assert len(list(tmp_path.rglob("*.arrow"))) == 1
    assert module.compute() == {"accuracy": 0.5}
    assert list(tmp_path.rglob("*.arrow")) == []


def test_several_processes_score_their_items_together(tmp_path: Path) -> None:
    """Threads stand for the processes: each module locks files of its own, as a process does."""
    inputs = inputs_of("macro_f1")
    figures: dict[int, Any] = {}

    def part(process: int) -> None:
        module = load("macro_f1", cache_dir=str(tmp_path), num_process=2, process_id=process, experiment_id="both")
        module.add_batch(**{key: values[process::2] for key, values in inputs.items()})
        figures[process] = module.compute()

    threads = [threading.Thread(target=part, args=(process,)) for process in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert figures == {0: load("macro_f1").compute(**inputs), 1: None}


# --- what they refuse -----------------------------------------------------------------------------


def refusal(function: Callable[..., object], **inputs: Any) -> str:
    with pytest.raises(ValueError) as raised:
        function(**inputs)
    return str(raised.value)


def test_an_unknown_name_is_refused() -> None:
    assert refusal(load, name="macro_f") == "there is no metric 'macro_f'. Did you mean 'macro_f1'?"
    assert refusal(load, name="xyz") == f"there is no metric 'xyz'. There are: {', '.join(MODULES)}"


def test_an_unknown_setting_is_refused() -> None:
    """`evaluate.Metric` itself swallows it."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'n_bins'"):
        load("accuracy", n_bins=5)


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("accuracy", {"predictions": [0.9], "references": [1]}, "predictions must be a list of whole numbers"),
        ("accuracy", {"predictions": ["1"], "references": [1]}, "predictions must be a list of whole numbers"),
        ("accuracy", {"predictions": [[0, 1]], "references": [1]}, "predictions must be a list of whole numbers"),
        ("accuracy", {"predictions": 1, "references": 1}, "predictions must be a list of whole numbers"),
        ("accuracy", {"predictions": [1], "references": [None]}, "references must be a list of whole numbers"),
        (
            "brier_score",
            {"probabilities": [0.9], "references": [1]},
            "probabilities must be a list of lists of numbers",
        ),
        ("exact_match", {"predictions": ["a", None], "references": ["a", "b"]}, "predictions must be a list of texts"),
        ("exact_match", {"predictions": "a", "references": "a"}, "predictions must be a list of texts"),
        ("perplexity", {"total_nats": [1.0]}, "perplexity needs total_nats and n_tokens: n_tokens is missing"),
        (
            "accuracy",
            {"predictions": [1, 0], "references": [1]},
            "Mismatch in the number of predictions (2) and references (1)",
        ),
        (
            "expected_calibration_error",
            {"probabilities": [[0.2, 0.8]], "references": [1], "n_bins": 5},
            "expected_calibration_error takes no n_bins, only probabilities and references; settings go to `load`",
        ),
        (
            "roc_auc",
            {"probabilities": [[0.2, 0.8], [0.3, 0.7]], "references": [1, 1]},
            "every item has the same class: there is nothing to tell apart",
        ),
        (
            "token_accuracy",
            {"predictions": [[1], [2, 3]], "references": [[1, 2], [3]]},
            "item 0 has 1 predicted tokens and 2 true ones",
        ),
        ("perplexity", {"total_nats": [0.0], "n_tokens": [0]}, "nothing to average over: the texts have no token"),
        (
            "bits_per_byte",
            {"total_nats": [0.0], "n_bytes": [0]},
            "bits per byte needs a text of at least one byte, got 0",
        ),
    ],
)
def test_wrong_inputs_are_refused(name: str, inputs: Inputs, message: str) -> None:
    assert refusal(load(name).compute, **inputs) == message


def test_a_wrong_item_is_refused_and_the_others_are_kept() -> None:
    module = load("accuracy")
    module.add(prediction=1, reference=1)
    assert refusal(module.add, prediction=0.9, reference=1) == "predictions must be a list of whole numbers"
    assert refusal(module.add, prediction=1) == ("accuracy needs predictions and references: references is missing")
    module.add(prediction=0, reference=1)
    assert module.compute() == {"accuracy": 0.5}


def test_no_item_is_refused() -> None:
    assert refusal(load("accuracy").compute) == "accuracy has no item to score: give it predictions and references"


def test_equal_names_of_classes_are_refused() -> None:
    message = refusal(load, name="class_scores", labels=["good", "good"])
    assert message == "each class needs a name of its own, got good, good"


def test_several_processes_need_a_folder() -> None:
    message = refusal(load, name="accuracy", num_process=2)
    assert message == "2 processes exchange their items in files: give cache_dir, a shared folder"
