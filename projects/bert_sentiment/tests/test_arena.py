"""The arena as a whole: what is trained and continued, dead ends, processes, memory, and wrong settings."""

import signal
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bert_sentiment.arena import command, training
from bert_sentiment.arena.memory import peak_memory_mb, resident_peak_mb
from bert_sentiment.arena.processes import killed_by, train_in_process
from bert_sentiment.arena.standings import standings
from bert_sentiment.arena.trials import read_result
from bert_sentiment.config import ArenaConfig, ContestConfig, MethodConfig, RatesConfig, TrainerConfig
from roadmap_shared.errors import UserError
from roadmap_shared.runs import start_run

from .helpers import arena_config

pytestmark = pytest.mark.usefixtures("imported_modules_are_not_searched_for_garbage")


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
        "ia3/rate-0.001-seed-5",
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


def test_dead_ends_stand_in_the_report_with_their_reason(tmp_path, encoder_folder, capsys):
    config = arena_config(tmp_path, encoder_folder("distilbert"), methods=("head", "prefix", "lora"))
    rates = replace(config.rates, head=(1e-3,), lora=(1e-3, 1e30))
    config = replace(config, rates=rates, trainer=replace(config.trainer, clip_norm=0.0))
    summary = command.run(config)
    assert summary["best_method"] in ("head", "lora")
    assert "accuracy_prefix" not in summary
    assert 0 <= summary["baseline_tfidf_accuracy"] <= 1
    folder = tmp_path / "bert_sentiment" / "latest"
    page = (folder / "report.html").read_text()
    assert "dead end: --method.name prefix: the attention of distilbert takes no keys and values from outside" in page
    assert "training diverged" in page
    for edge in ("only one", "lowest"):
        assert f">chosen, the {edge} of its grid</td>" in page
    remark = (
        "The chosen learning rate is the lowest of its grid for lora; the only one of its grid for head: one beyond it "
        "may be better still"
    )
    assert remark in page
    assert f"{remark}. Wider grids: --config arena_full, or --rates.METHOD\n" in capsys.readouterr().out
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
