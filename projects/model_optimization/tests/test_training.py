"""The training loop: every text once an epoch, the schedule, the groups, and what stops it."""

import numpy as np
import pytest
import torch
from torch import nn

from model_optimization.config.trainer import TrainerConfig
from model_optimization.training import TokenisedTexts, _groups, _linear, batches, cross_entropy, fine_tune, tokenised
from model_optimization.types import Texts

from .tiny_models import TEXTS, tiny_classifier


def data_of(n: int) -> TokenisedTexts:
    return TokenisedTexts(
        sequences=[[2, *[5] * (1 + number % 7), 3] for number in range(n)], targets=torch.arange(n) % 2, pad_id=0
    )


def test_every_text_once_an_epoch_with_its_target_and_mask() -> None:
    data = data_of(50)
    seen: list[int] = []
    for batch in batches(data, 8, np.random.default_rng(0)):
        assert len(batch.indices) <= 8
        seen += batch.indices.tolist()
        for row, index in enumerate(batch.indices.tolist()):
            length = len(data.sequences[index])
            assert batch.inputs["input_ids"][row, :length].tolist() == data.sequences[index]
            assert batch.inputs["attention_mask"][row].tolist() == [1] * length + [0] * (
                batch.inputs["input_ids"].shape[1] - length
            )
            assert batch.targets[row] == data.targets[index]
    assert sorted(seen) == list(range(50))


def test_batches_hold_texts_of_similar_length_in_another_order_each_time() -> None:
    data, generator = data_of(64), np.random.default_rng(0)
    first, second = ([batch.indices.tolist() for batch in batches(data, 8, generator)] for _ in range(2))
    assert first != second
    spans = [max(lengths) - min(lengths) for lengths in ([len(data.sequences[i]) for i in batch] for batch in first)]
    assert max(spans) <= 1


def test_schedule() -> None:
    factor = _linear(steps=10, warmup_share=0.2)
    assert [round(factor(step), 3) for step in range(11)] == [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]
    assert [_linear(4, 0.0)(step) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_groups() -> None:
    network = tiny_classifier().network
    groups = _groups(network, TrainerConfig(learning_rate=1e-3, head_factor=5, weight_decay=0.1))
    rates = {(group["lr"], group["weight_decay"]) for group in groups}
    assert rates == {(1e-3, 0.1), (1e-3, 0.0), (5e-3, 0.1), (5e-3, 0.0)}
    counted = sum(len(group["params"]) for group in groups)  # type: ignore[arg-type]
    assert counted == len(list(network.parameters()))
    (head,) = (group["params"] for group in groups if group["lr"] == 5e-3 and group["weight_decay"])
    assert head == [network.classifier.weight]


def test_it_learns_its_texts_and_again_the_same() -> None:
    targets = np.array([1, 0, 1, 1, 0, 1, 0, 0])
    config = TrainerConfig(epochs=30, batch_size=4, learning_rate=3e-3, head_factor=1)
    outcomes = []
    for _ in range(2):
        classifier = tiny_classifier()
        result = fine_tune(
            classifier.network, tokenised(classifier, Texts(texts=TEXTS, targets=targets)), config, seed=3
        )
        assert (result.steps, len(result.losses)) == (60, 30)
        assert result.losses[-1] < 0.1 < result.losses[0]
        assert not classifier.network.training
        outcomes.append(classifier.logits(TEXTS))
    assert (outcomes[0].argmax(1) == targets).all()
    np.testing.assert_array_equal(*outcomes)


def test_a_loss_and_an_afterthought_of_ones_own() -> None:
    classifier = tiny_classifier()
    data = tokenised(classifier, Texts(texts=TEXTS, targets=np.zeros(8, dtype=np.int64)))
    seen: list[int] = []
    steps: list[tuple[int, int]] = []

    def loss(network: nn.Module, batch: object) -> torch.Tensor:
        from model_optimization.training import Batch

        assert isinstance(batch, Batch)
        seen.extend(batch.indices.tolist())
        return 2 * cross_entropy(network, batch)

    config = TrainerConfig(epochs=2, batch_size=4)
    fine_tune(classifier.network, data, config, seed=0, loss=loss, after_step=lambda done, of: steps.append((done, of)))
    assert sorted(seen) == sorted([*range(8), *range(8)])
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_loss_that_is_no_number() -> None:
    classifier = tiny_classifier()
    data = tokenised(classifier, Texts(texts=TEXTS, targets=np.zeros(8, dtype=np.int64)))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1: lower the learning rate"):
        fine_tune(
            classifier.network,
            data,
            TrainerConfig(),
            seed=0,
            loss=lambda network, batch: cross_entropy(network, batch) * float("nan"),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--trainer.epochs 0 must be at least 1"),
        ({"learning_rate": 0.0}, "--trainer.learning_rate 0.0 must be above 0"),
        ({"warmup_share": 1.0}, "--trainer.warmup_share 1.0 must be at least 0 and below 1"),
        ({"weight_decay": -1.0}, "--trainer.weight_decay -1.0 must not be negative"),
    ],
)
def test_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        TrainerConfig(**settings)  # type: ignore[arg-type]
