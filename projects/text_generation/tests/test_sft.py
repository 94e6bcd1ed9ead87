"""Supervised fine-tuning: the loss is on the answers alone, packing keeps conversations apart, resumption is exact."""

import json
import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl.data_utils import pack_dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from roadmap_shared.config import RunConfig, load_config
from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.config.commands import GenerationConfig
from text_generation.config.finetuning import (
    AdapterConfig,
    ChatDataConfig,
    FinetuneConfig,
    StartConfig,
    TuningConfig,
)
from text_generation.tokenizer import ASSISTANT, END_OF_TURN, SYSTEM, USER
from text_generation.training.chat_data import Conversation
from text_generation.training.sft import (
    IGNORED,
    QuietSFTTrainer,
    answer_loss,
    finetune,
    padded,
    train_rows,
    training_rows,
)
from text_generation.training.sft_command import run_finetune
from text_generation.training.sft_model import (
    tuning_warnings,
)
from text_generation.training.sft_trainer import (
    StepLogger,
    Workplace,
    newest_whole_checkpoint,
    training_settings,
)

from .tiny_chat_models import CONFIG, TEXTS, logits, tiny, weights

CHATS = [
    Conversation((Message("user", f"{number}. {text[:11]}"), Message("assistant", text)), f"chats:{number}")
    for number, text in enumerate(TEXTS[:10], start=1)
]


def test_the_labels_are_the_answers_and_their_ends_by_hand():
    model = tiny()
    mark = dict(zip(model.tokenizer.all_special_tokens, model.tokenizer.all_special_ids, strict=True))
    turns = (
        Message("system", "Be brief."),
        Message("user", "Who found a key?"),
        Message("assistant", "Mira."),
        Message("user", "And the song?"),
        Message("assistant", "Otto went to the sea."),
    )
    ids: list[int] = []
    labels: list[int] = []
    for turn, opening in zip(turns, (SYSTEM, USER, ASSISTANT, USER, ASSISTANT), strict=True):
        said = model.tokenizer(turn.content, add_special_tokens=False)["input_ids"]
        ids += [mark[opening], *said, mark[END_OF_TURN]]
        counts = opening == ASSISTANT
        labels += [IGNORED, *([*said, mark[END_OF_TURN]] if counts else [IGNORED] * (len(said) + 1))]
    assert training_rows(model, [Conversation(turns, "a:1")], 48).rows == [{"input_ids": ids, "labels": labels}]


def test_the_labels_are_those_that_trl_makes_of_the_same_conversations(tmp_path: Path):
    model = tiny()
    rows = training_rows(model, CHATS[:3], 48).rows
    messages = [[vars(turn) for turn in chat.messages] for chat in CHATS[:3]]
    settings = training_settings(CONFIG, Workplace(1), str(tmp_path))
    with tuning_warnings():
        trainer = QuietSFTTrainer(
            model=model.network,
            args=SFTConfig(**settings, assistant_only_loss=True, max_length=48),
            train_dataset=Dataset.from_list([{"messages": turns} for turns in messages]),
            processing_class=model.tokenizer,
        )
    trained_on: Any = trainer.train_dataset
    assert [{name: row[name] for name in ("input_ids", "labels")} for row in trained_on] == rows


def test_what_is_too_long_is_left_out_and_counted(capsys: pytest.CaptureFixture[str]):
    long = Conversation((Message("user", "Who?"), Message("assistant", " ".join(TEXTS[:4]))), "chats:11")
    tuned = finetune(tiny(), [*CHATS, long], CONFIG, Workplace(1))
    assert (tuned.n_rows, [reject.source for reject in tuned.left_out]) == (10, ["chats:11"])
    n_tokens = len(tiny().encode(long.messages)[0])
    assert capsys.readouterr().out == f"1 row left out: chats:11 ({n_tokens} tokens, more than 48)\n"


@pytest.mark.parametrize(
    ("chats", "config", "message"),
    [
        ([], CONFIG, "there is no conversation to train on"),
        (
            [Conversation((Message("user", "a"), Message("assistant", "b")), "chats:1")],
            replace(CONFIG, max_length=4),
            "there is no conversation to train on: 1 row left out: chats:1 (6 tokens, more than 4)",
        ),
        (CHATS, replace(CONFIG, max_length=100), "--trainer.max_length 100 is above the 48 of tiny's context"),
        (CHATS, replace(CONFIG, precision="bf16"), "--trainer.precision bf16 is for a GPU: give fp32 here"),
    ],
)
def test_what_cannot_be_trained_on(chats: list[Conversation], config: TuningConfig, message: str):
    with pytest.raises(UserError) as error:
        finetune(tiny(), chats, config, Workplace(1))
    assert str(error.value) == message


def test_the_loss_is_the_mean_over_answer_tokens():
    model = tiny()
    rows = training_rows(model, CHATS[:5], 48).rows
    nats = [
        -logits(model.network, row["input_ids"])[place - 1].log_softmax(-1)[label].item()
        for row in rows
        for place, label in enumerate(row["labels"])
        if label != IGNORED
    ]
    assert answer_loss(model.network, rows, batch_size=2) == pytest.approx(sum(nats) / len(nats), abs=1e-6)


def test_packed_conversations_do_not_see_each_other():
    model = tiny()
    rows = training_rows(model, CHATS[:6], 48).rows
    packed = pack_dataset(Dataset.from_list(rows), 48, "bfd")
    assert max(len(lengths) for lengths in packed["seq_lengths"]) > 1
    batch = DataCollatorForLanguageModeling(pad_token_id=1, padding_free=True)(list(packed))
    assert batch["input_ids"].shape[0] == 1
    with torch.inference_mode():
        together = model.network.eval()(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False).logits[0]
    start = 0
    for lengths, ids in zip(packed["seq_lengths"], packed["input_ids"], strict=True):
        place = 0
        for length in lengths:
            alone = logits(model.network, ids[place : place + length])
            torch.testing.assert_close(together[start : start + length], alone, atol=1e-5, rtol=0)
            place, start = place + length, start + length


def test_packing_trains_on_every_conversation():
    tuned = finetune(tiny(), CHATS, replace(CONFIG, packing=True, batch_size=2), Workplace(1), validation=CHATS[:2])
    assert tuned.n_rows == len(CHATS)
    assert tuned.val_before is not None
    assert tuned.val_after is not None
    assert tuned.val_after < tuned.val_before


def test_a_resumed_training_ends_as_the_uninterrupted_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config, rows = replace(CONFIG, steps=4), training_rows(tiny(), CHATS, 48).rows
    whole = tiny()
    place = Workplace(1, tmp_path)
    train_rows(whole, rows, config, place, AdapterConfig())
    assert [line["step"] for line in place.history] == [1, 2, 3, 4]
    # Of the last checkpoint only a part is there, as after a kill.
    (tmp_path / "checkpoint-4" / "files.json").unlink()
    again = Workplace(1, tmp_path, resumed=True)
    resumed = tiny(seed=8)
    train_rows(resumed, rows, config, again, AdapterConfig())
    assert [line["step"] for line in again.history] == [3, 4]
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    assert f"checkpoint skipped: {tmp_path / 'checkpoint-4'}: was not finished\n" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "files.json").write_text(json.dumps({"model.safetensors": "0" * 64}))
    assert newest_whole_checkpoint(tmp_path) is None
    assert capsys.readouterr().err == f"checkpoint skipped: {folder}: model.safetensors is damaged\n"


def test_after_training_the_network_runs_its_own_forward():
    model = tiny()
    train_rows(model, training_rows(model, CHATS, 48).rows, CONFIG, Workplace(1), AdapterConfig())
    assert "forward" not in vars(model.network)


def test_a_training_that_diverges_stops_with_one_line():
    state: Any = type("State", (), {"global_step": 7})()
    with pytest.raises(UserError) as error:
        StepLogger(Workplace(1), "fine-tuning").on_log(None, state, None, {"loss": math.nan})  # type: ignore[arg-type]
    assert str(error.value) == (
        "the loss is nan at step 7: training diverged. Lower --trainer.learning_rate; earlier checkpoints are kept"
    )


def test_rows_are_filled_up_on_the_right():
    ids, mask, labels = padded([{"input_ids": [5, 6], "labels": [IGNORED, 6]}, {"input_ids": [7], "labels": [7]}])
    assert ids.tolist() == [[5, 6], [7, 0]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    assert labels.tolist() == [[IGNORED, 6], [7, IGNORED]]


def test_the_command_from_a_folder_and_a_file_to_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = tiny()
    model.network.save_pretrained(tmp_path / "start")
    model.tokenizer.save_pretrained(tmp_path / "start")
    lines = [{"prompt": chat.messages[0].content, "completion": chat.messages[1].content} for chat in CHATS]
    lines[3] = {"prompt": "no answer"}
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    summary = run_finetune(
        FinetuneConfig(
            run=RunConfig(root=tmp_path / "runs", name="test"),
            model=StartConfig(name=str(tmp_path / "start")),
            data=ChatDataConfig(path=path, validation_share=0.5),
            trainer=CONFIG,
        )
    )
    assert summary["val_loss"] < summary["baseline_val_loss"]
    assert summary["n_rejected"] == 1
    folder = tmp_path / "runs" / "text_generation" / "latest"
    assert "chats.jsonl:4" in (folder / "report.html").read_text("utf-8")
    assert (folder / "model" / "config.json").is_file()
    assert f"{path}: 1 row left out: chats.jsonl:4" in capsys.readouterr().out


def test_the_shipped_recipes_parse():
    configs = files("text_generation") / "configs"
    assert load_config(FinetuneConfig, Path(str(configs / "finetune.yaml"))).stories == 60
    recipe = load_config(GenerationConfig, Path(str(configs / "pretrain_gpu.yaml")))
    shape = recipe.model
    n_weights = 12 * shape.n_layers * shape.width**2 + (recipe.tokenizer.vocabulary + shape.context) * shape.width
    assert 25e6 < n_weights < 60e6
    assert (recipe.trainer.precision, recipe.trainer.compile) == ("bf16", True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StartConfig(name=""), "--model.name is empty: give latest, a folder or a hub id"),
        (lambda: ChatDataConfig(validation_share=0.9), "--data.validation_share 0.9 must be at least 0 and below 0.9"),
        (lambda: AdapterConfig(rank=0), "--adapter.rank 0 must be at least 1"),
        (
            lambda: TuningConfig(batch_size=6, accumulation_steps=4),
            "--trainer.batch_size 6 is not a multiple of --trainer.accumulation_steps 4",
        ),
        (lambda: TuningConfig(learning_rate=0.0), "--trainer.learning_rate 0.0 must be above 0"),
    ],
)
def test_settings_that_cannot_be(make: Any, message: str):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message
