"""Training and decoding of sequence tasks: what a model learns, and that batches and padding change nothing."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from transformer_from_scratch import seq2seq, tokenizers
from transformer_from_scratch.config import DateDataConfig, DatesConfig, ModelConfig, SequenceEvaluation, TrainerConfig
from transformer_from_scratch.models import IGNORED, EncoderDecoder
from transformer_from_scratch.optimizers import build_optimizers
from transformer_from_scratch.processes import Processes
from transformer_from_scratch.seq2seq import SequenceTask, build_encoder_decoder, cross_attention_maps, write_targets
from transformer_from_scratch.sequence_pairs import SPECIAL_TOKENS, SequencePairs, encode_pair
from transformer_from_scratch.tokenizers import Tokenizer
from transformer_from_scratch.trainer import StepLoss, accumulate_gradients

WORDS = (
    "one two three four five six seven eight nine ten eleven twelve red green blue white black pink grey gold".split()
)
PAIRS = [(word, word[::-1]) for word in WORDS]
DATA = SequencePairs(train=PAIRS, validation=PAIRS[:7], test=PAIRS, origin="words backwards")
MODEL = ModelConfig(n_layers=1, d_model=32, n_heads=2, d_hidden=64, context=12)
CONFIG = DatesConfig(
    data=DateDataConfig(batch_tokens=160),
    model=MODEL,
    trainer=TrainerConfig(steps=120, batch_size=4, learning_rate=1e-2, warmup_steps=5),
    evaluation=SequenceEvaluation(batch_size=3),
)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return tokenizers.train("character", WORDS, special_tokens=SPECIAL_TOKENS)


@pytest.fixture
def task(tokenizer: Tokenizer) -> SequenceTask:
    return SequenceTask(DATA, tokenizer, CONFIG, seed=0)


@pytest.fixture
def model(tokenizer: Tokenizer) -> EncoderDecoder:
    return build_encoder_decoder(MODEL, tokenizer.vocab_size, seed=0).eval()


def learn(model: EncoderDecoder, task: SequenceTask) -> None:
    optimizers = build_optimizers(model.train(), CONFIG.trainer)
    for step in range(CONFIG.trainer.steps):
        task.loss(model, task.batch(step, CONFIG.trainer.batch_size), 0.0).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("beams", [1, 3])
def test_a_small_model_learns_twenty_pairs_by_heart(
    model: EncoderDecoder, task: SequenceTask, tokenizer: Tokenizer, beams: int
) -> None:
    learn(model, task)
    evaluation = replace(CONFIG.evaluation, beams=beams, batch_size=6)
    assert write_targets(model, tokenizer, WORDS, evaluation) == [word[::-1] for word in WORDS]


def loss_alone(model: EncoderDecoder, tokenizer: Tokenizer, pair: tuple[str, str]) -> tuple[float, int]:
    """Summed loss and number of target tokens of a pair in a batch of its own, without padding or mask."""
    encoded = encode_pair(pair, tokenizer)
    logits = model(torch.tensor([encoded.source]), torch.tensor([encoded.target[:-1]]))
    losses = F.cross_entropy(logits[0], torch.tensor(encoded.target[1:]), reduction="none")
    return losses.sum().item(), len(losses)


def test_validation_loss_is_the_mean_over_all_target_tokens(
    model: EncoderDecoder, task: SequenceTask, tokenizer: Tokenizer
) -> None:
    alone = [loss_alone(model, tokenizer, pair) for pair in DATA.validation]
    expected = sum(total for total, _ in alone) / sum(count for _, count in alone)
    model.train()
    assert task.evaluate(model)["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert model.training


def test_padding_of_a_training_batch_changes_no_loss(
    model: EncoderDecoder, task: SequenceTask, tokenizer: Tokenizer
) -> None:
    items = task.buckets.batch(0, 4)
    batch = task.batch(0, 4)
    assert not batch[1].all(), "the batch must have padding"
    assert (batch[-1] == IGNORED).any()
    alone = [loss_alone(model, tokenizer, PAIRS[item]) for item in items]
    expected = sum(total for total, _ in alone) / sum(count for _, count in alone)
    assert task.loss(model, batch, 0.0).item() == pytest.approx(expected, rel=1e-5)


def test_parts_of_a_batch_add_up_to_its_gradients(model: EncoderDecoder, task: SequenceTask) -> None:
    """Each part weighs as much as it has targets, however unevenly padding is spread."""
    batch = task.batch(0, 4)
    step_loss = StepLoss(model, task, CONFIG.trainer, torch.device("cpu"))
    alone = Processes(rank=0, count=1, device=torch.device("cpu"))
    losses, gradients = [], []
    for n_parts in (1, 4):
        model.zero_grad()
        settings = replace(CONFIG.trainer, accumulation_steps=n_parts)
        losses.append(accumulate_gradients(step_loss, step_loss, batch, settings, alone))
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert len({int((part != IGNORED).sum()) for part in batch[-1].chunk(4)}) > 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-7)


def test_label_smoothing_reaches_the_loss(model: EncoderDecoder, task: SequenceTask) -> None:
    batch = task.batch(0, 4)
    logits = model(batch[0], batch[2], batch[1]).flatten(0, 1)
    expected = F.cross_entropy(logits, batch[-1].flatten(), ignore_index=IGNORED, label_smoothing=0.2)
    assert task.loss(model, batch, 0.2).item() == pytest.approx(expected.item(), rel=1e-6)


def test_experts_of_both_stacks_are_balanced(tokenizer: Tokenizer) -> None:
    config = replace(MODEL, n_experts=4, balancing_weight=0.5)
    model = build_encoder_decoder(config, tokenizer.vocab_size, seed=0)
    batch = SequenceTask(DATA, tokenizer, replace(CONFIG, model=config), seed=0).batch(0, 4)
    loss = model.loss(*batch)
    plain = F.cross_entropy(
        model(batch[0], batch[2], batch[1]).flatten(0, 1), batch[-1].flatten(), ignore_index=IGNORED
    )
    encoder, decoder = model.encoder.balancing_loss(), model.decoder.balancing_loss()
    assert encoder is not None
    assert decoder is not None
    assert loss.item() == pytest.approx((plain + 0.5 * (encoder + decoder)).item(), rel=1e-5)


def test_the_order_and_number_of_sources_changes_no_output(model: EncoderDecoder, tokenizer: Tokenizer) -> None:
    alone = [write_targets(model, tokenizer, [word], CONFIG.evaluation)[0] for word in WORDS]
    assert len(set(alone)) > 1
    assert write_targets(model, tokenizer, WORDS, SequenceEvaluation(batch_size=8)) == alone
    assert write_targets(model, tokenizer, WORDS[::-1], SequenceEvaluation(batch_size=20)) == alone[::-1]


def test_long_sources_are_cut_and_said(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[list[int]] = []

    def decode_nothing(
        model: object, tokenizer: object, sources: list[list[int]], evaluation: object
    ) -> list[list[int]]:
        read.extend(sources)
        return [[] for _ in sources]

    monkeypatch.setattr(seq2seq, "decode_batch", decode_nothing)
    assert write_targets(model, tokenizer, ["twelvethreetwo", "one"], CONFIG.evaluation) == ["", ""]
    assert "1 of 2 sources are longer than --model.context 12 tokens and cut there" in capsys.readouterr().err
    end = tokenizer.special_id("<eos>")
    assert read == [[*tokenizer.encode("one"), end], tokenizer.encode("twelvethreet")]


def test_cross_attention_maps_are_the_weights_that_the_model_used(model: EncoderDecoder, tokenizer: Tokenizer) -> None:
    maps, source, target = cross_attention_maps(model, tokenizer, ("six", "ten"))
    assert source == ["s", "i", "x", "<eos>"]
    assert target == ["t", "e", "n", "<eos>"]
    (weights,) = maps
    assert weights.shape == (2, 4, 4)
    # By hand, from the block's own parts.
    encoded = encode_pair(("six", "ten"), tokenizer)
    memory = model.encode(torch.tensor([encoded.source]))
    block = model.decoder.blocks[0]
    x = model.tokens(torch.tensor([encoded.target[:-1]]))
    rotation = model.decoder.positions.rotation(torch.arange(4))
    attended, _ = block.attention(block.attention_residual.enter(x), causal=True, rotation=rotation)  # type: ignore
    x = block.cross_residual.enter(block.attention_residual.leave(x, attended))  # type: ignore
    query = block.cross_attention.project_query(x)  # type: ignore
    key, _ = block.cross_attention.project_memory(memory)  # type: ignore
    expected = (query @ key.mT / 16**0.5).softmax(dim=-1)[0]
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)
    # Nothing is left behind in the model.
    assert not block.cross_attention._forward_hooks  # type: ignore
    assert not block.cross_attention._forward_pre_hooks  # type: ignore


@pytest.mark.parametrize(
    ("model", "batch_tokens", "expected"),
    [
        (MODEL, 47, "--data.batch_tokens 47 is too small for --trainer.batch_size 4 sequences of --model.context 12"),
        (replace(MODEL, ngram_orders=(2,)), 160, "--model.ngram_orders (2,) are for decoder-only models"),
    ],
)
def test_settings_that_no_sequence_task_can_have(model: ModelConfig, batch_tokens: int, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        DatesConfig(data=DateDataConfig(batch_tokens=batch_tokens), model=model, trainer=CONFIG.trainer)
