"""Alignment: the DPO loss by hand and against TRL's, training on pairs and on rewards, and what cannot be aligned."""

import json
import math
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.dpo_config import DPOConfig

from roadmap_shared.config import RunConfig, load_config
from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.config.data import TokenizerConfig
from text_generation.config.finetuning import (
    AdapterConfig,
    AlignConfig,
    PreferenceDataConfig,
    RewardConfig,
    StartConfig,
    TuningConfig,
)
from text_generation.config.training import ModelConfig
from text_generation.tokenizer import train_tokenizer
from text_generation.training.alignment import QuietDPOTrainer, align, preference_rows
from text_generation.training.alignment_command import preference_data, reward_data, run_align
from text_generation.training.alignment_grpo import align_by_reward, fitting_rows
from text_generation.training.alignment_loss import answer_logprobs, dpo_loss
from text_generation.training.chat_data import Preference
from text_generation.training.model import build_model
from text_generation.training.rewards import story_reward
from text_generation.training.sft_model import ChatModel, chat_model, tuning_warnings
from text_generation.training.sft_trainer import Workplace, training_settings

TEXTS = [f"{hero} went to the {place} and found a {thing}." for hero in ("Mira", "Otto", "Ines", "Tom")
         for place in ("sea", "wood", "hill") for thing in ("shell", "key", "song")]  # fmt: skip
PAIRS = [
    Preference((Message("user", liked[:11]),), liked, other, f"pairs:{number}")
    for number, (liked, other) in enumerate(zip(TEXTS[:8], TEXTS[18:26], strict=True), start=1)
]
CONFIG = TuningConfig(
    steps=2, batch_size=4, learning_rate=1e-2, warmup_share=0.0, checkpoint_every=2, device="cpu", threads=1
)
LORA = AdapterConfig(method="lora", rank=2)
floats = st.floats(-50, 50)


def tiny(context: int = 48) -> ChatModel:
    tokenizer = train_tokenizer(TEXTS, TokenizerConfig(vocabulary=320), context=context)
    shape = ModelConfig(n_layers=2, width=32, n_heads=2, context=context)
    return chat_model(build_model(shape, tokenizer, 3), tokenizer, "tiny")


def test_the_dpo_loss_by_hand():
    # β ((−3 − −4) − (−6 − −5)) = 0.5 · 2 = 1; −ln σ(1) = ln(1 + e⁻¹)
    loss = dpo_loss(*(torch.tensor([x]) for x in (-3.0, -6.0, -4.0, -5.0)), beta=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-7)


@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=5), st.floats(0.01, 1))
def test_the_reference_itself_has_the_loss_of_a_coin(pairs: list[tuple[float, float]], beta: float):
    chosen, rejected = torch.tensor(pairs).T
    assert dpo_loss(chosen, rejected, chosen, rejected, beta).item() == pytest.approx(math.log(2), abs=1e-6)


@given(floats, floats, floats, floats, st.floats(0.01, 1), st.floats(0.1, 5))
def test_more_probability_for_the_chosen_answer_lowers_the_loss(
    a: float, b: float, c: float, d: float, beta: float, more: float
):
    chosen, rejected, *reference = (torch.tensor([x], dtype=torch.float64) for x in (a, b, c, d))
    before = dpo_loss(chosen, rejected, *reference, beta=beta)
    assert dpo_loss(chosen + more, rejected, *reference, beta=beta) < before
    assert dpo_loss(chosen, rejected + more, *reference, beta=beta) > before
    # Only the difference counts.
    assert dpo_loss(chosen + more, rejected + more, *reference, beta=beta).item() == pytest.approx(before.item())


def dpo_trainer(model: ChatModel, folder: Path, beta: float) -> QuietDPOTrainer:
    rows, _ = preference_rows(model, PAIRS, 48)
    settings = training_settings(CONFIG, Workplace(1), str(folder))
    with tuning_warnings():
        return QuietDPOTrainer(
            model=model.network,
            ref_model=tiny().network,
            args=DPOConfig(**settings, beta=beta, loss_type=["sigmoid"], max_length=None),
            train_dataset=Dataset.from_list(rows),
            processing_class=model.tokenizer,
        )


def test_the_dpo_loss_is_that_of_trl_on_random_log_probabilities(tmp_path: Path):
    trainer = dpo_trainer(tiny(), tmp_path, beta=0.3)
    trainer.precompute_ref_logps = True  # the reference's log-probabilities come with the batch
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        token_logprobs = -3 * torch.rand(8, 12, generator=generator)  # four chosen, four rejected answers
        reference = -40 * torch.rand(8, generator=generator)
        zeros = torch.zeros(8, 12)
        found = SimpleNamespace(log_probs=token_logprobs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())
        batch = {
            "input_ids": torch.ones(8, 13, dtype=torch.long),
            "attention_mask": torch.ones(8, 13, dtype=torch.long),
            "completion_mask": torch.ones(8, 13, dtype=torch.long),
            "ref_chosen_logps": reference[:4],
            "ref_rejected_logps": reference[4:],
        }
        theirs = trainer._compute_loss(lambda found=found, **_: found, batch, return_outputs=False)
        sums = token_logprobs.sum(1)
        ours = dpo_loss(sums[:4], sums[4:], reference[:4], reference[4:], beta=0.3)
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_the_dpo_loss_of_a_batch_is_that_of_trl_from_the_logits_on(tmp_path: Path):
    model = tiny()
    trainer: Any = dpo_trainer(model, tmp_path, beta=0.2)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    batch = trainer.data_collator(list(trainer.train_dataset)[:3])
    with tuning_warnings():
        theirs = trainer._compute_loss(model.network.eval(), dict(batch), return_outputs=False)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    parts = [
        answer_logprobs(network.eval()(**inputs).logits, batch["input_ids"], batch["completion_mask"].bool())
        for network in (model.network, trainer.ref_model)
    ]
    (chosen, rejected), (reference_chosen, reference_rejected) = (part.chunk(2) for part in parts)
    ours = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.2)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert abs(ours.item() - math.log(2)) > 1e-3


def test_log_probabilities_of_answers_are_summed_over_their_tokens():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    ids = torch.randint(7, (2, 5), generator=generator)
    marks = torch.tensor([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]]).bool()
    expected = [
        sum(logits[row, t - 1].log_softmax(0)[ids[row, t]].item() for t in range(1, 5) if marks[row, t])
        for row in range(2)
    ]
    assert answer_logprobs(logits, ids, marks).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("adapter", [AdapterConfig(), LORA], ids=["full", "lora"])
def test_alignment_begins_at_the_reference_and_leaves_it(adapter: AdapterConfig, tmp_path: Path):
    tuned = align(tiny(), PAIRS, replace(CONFIG, steps=3), Workplace(1), adapter=adapter, folder=tmp_path)
    losses = [line["loss"] for line in tuned.history]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[-1] < losses[0]
    assert tuned.n_rows == len(PAIRS)
    assert tuned.folder == tmp_path / "model"
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_pairs_that_do_not_fit_are_left_out(capsys: pytest.CaptureFixture[str]):
    long = Preference((Message("user", "Who?"),), " ".join(TEXTS[:4]), "Mira.", "pairs:9")
    rows, left_out = preference_rows(tiny(), [PAIRS[0], long], 48)
    assert rows == [
        {
            "prompt": [asdict(PAIRS[0].prompt[0])],
            "chosen": [{"role": "assistant", "content": PAIRS[0].chosen}],
            "rejected": [{"role": "assistant", "content": PAIRS[0].rejected}],
        }
    ]
    assert [reject.source for reject in left_out] == ["pairs:9"]
    with pytest.raises(UserError) as error:
        align(tiny(), [], CONFIG, Workplace(1))
    assert str(error.value) == "there is no pair of answers to align with"


def story_rows(count: int) -> list[dict[str, Any]]:
    fields = {"theme": "sea", "hero": "Mira", "mood": "gentle", "ending": "happy"}
    return [{"prompt": pair.prompt, **fields} for pair in PAIRS[:count]]


def test_grpo_makes_a_reward_larger_by_its_gradient():
    """Rewards that do not depend on the answer move nothing; rewards that do, move the weights."""
    config, grpo = replace(CONFIG, steps=1), RewardConfig(generations=4, max_new_tokens=6)
    rows = story_rows(4)

    def constant(completions: list[Any], **_: Any) -> list[float]:
        return [0.5] * len(completions)

    def by_length(completions: list[Any], **_: Any) -> list[float]:
        return [float(len(answer[-1]["content"])) for answer in completions]

    start = {name: tensor.clone() for name, tensor in tiny().network.state_dict().items()}
    still = align_by_reward(tiny(), rows, constant, grpo, config, Workplace(1))
    assert all(torch.equal(tensor, start[name]) for name, tensor in still.model.network.state_dict().items())
    assert still.history[0]["reward"] == pytest.approx(0.5)
    moved = align_by_reward(tiny(), rows, by_length, grpo, config, Workplace(1))
    assert any(not torch.equal(tensor, start[name]) for name, tensor in moved.model.network.state_dict().items())


def test_grpo_with_the_story_checker_and_a_reference(tmp_path: Path):
    grpo = RewardConfig(generations=4, max_new_tokens=6, kl=0.1)
    tuned = align_by_reward(tiny(), story_rows(4), story_reward, grpo, CONFIG, Workplace(1, tmp_path), folder=tmp_path)
    assert len(tuned.history) == 2
    assert all(0 <= line["reward"] <= 1 for line in tuned.history)
    assert tuned.history[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert (tmp_path / "model" / "config.json").is_file()


def test_prompts_without_room_for_an_answer_are_left_out():
    model = tiny()
    rows = [*story_rows(1), {"prompt": (Message("user", " ".join(TEXTS[:3])),), "task_id": "p/1"}]
    fitting, left_out = fitting_rows(model, rows, 20)
    assert [row["prompt"] for row in fitting] == [[asdict(PAIRS[0].prompt[0])]]
    assert left_out[0].source == "p/1"
    with pytest.raises(UserError) as error:
        align_by_reward(model, [], story_reward, RewardConfig(max_new_tokens=6), CONFIG, Workplace(1))
    assert str(error.value) == "there is no prompt to answer"


def test_the_command_from_a_file_of_pairs_to_a_folder(tmp_path: Path):
    model = tiny()
    model.network.save_pretrained(tmp_path / "start")
    model.tokenizer.save_pretrained(tmp_path / "start")
    lines = [{"prompt": p.prompt[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in PAIRS]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, {"prompt": "a"}]))
    summary = run_align(
        AlignConfig(
            run=RunConfig(root=tmp_path / "runs", name="test"),
            model=StartConfig(name=str(tmp_path / "start")),
            data=PreferenceDataConfig(path=path),
            trainer=CONFIG,
        )
    )
    assert (summary["n_rows"], summary["n_rejected"]) == (8, 1)
    folder = tmp_path / "runs" / "text_generation" / "latest"
    assert (folder / "model" / "config.json").is_file()
    assert "pairs.jsonl:9" in (folder / "report.html").read_text("utf-8")


def test_built_in_data_for_each_method():
    model = tiny()
    pairs, _, origin = preference_data(model, AlignConfig(data=PreferenceDataConfig(pairs=4)))
    assert (len(pairs), origin) == (4, "4 pairs of stories that differ in one field, by a grammar")
    config = AlignConfig(method="grpo", data=PreferenceDataConfig(pairs=3))
    rows, reward, rejects, origin = reward_data(config)
    assert (len(rows), reward, rejects, origin) == (3, story_reward, [], "3 requests for stories in plain words")
    rows, _, _, origin = reward_data(replace(config, grpo=RewardConfig(reward="code")))
    assert origin == f"{len(rows)} programming problems (built-in)"


def test_the_shipped_recipes_parse():
    configs = files("text_generation") / "configs"
    assert load_config(AlignConfig, Path(str(configs / "align.yaml"))).method == "dpo"
    assert load_config(AlignConfig, Path(str(configs / "grpo.yaml"))).grpo.reward == "code"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AlignConfig(beta=0.0), "--beta 0.0 must be above 0"),
        (
            lambda: AlignConfig(trainer=TuningConfig(packing=True)),
            "--trainer.packing is for finetune: align compares whole answers",
        ),
        (
            lambda: AlignConfig(method="grpo", trainer=TuningConfig(batch_size=12)),
            "--trainer.batch_size 12 is not a multiple of --grpo.generations 8",
        ),
        (
            lambda: RewardConfig(generations=1),
            "--grpo.generations 1 must be at least 2: a group is compared within",
        ),
        (lambda: PreferenceDataConfig(samples=1), "--data.samples 1 must be at least 2: a pair has two answers"),
    ],
)
def test_settings_that_cannot_be(make: Any, message: str):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
