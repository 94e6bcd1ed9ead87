import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_optimization.config.distillation import DistillationConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.distillation.inside import PROJECTIONS, layer_map, learned_projections, look_inside
from model_optimization.distillation.students import student_of
from model_optimization.distillation.teacher_student import (
    DistillationLoss,
    attention_score_loss,
    distil,
    hidden_state_loss,
    mean_where,
    relation_loss,
    soft_target_loss,
)
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import Batch, cross_entropy
from model_optimization.types import Texts
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier, tiny_network

ALL_LOSSES = DistillationConfig(hidden_weight=0.5, attention_weight=0.25, relation_weight=2.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class _Projected(torch.nn.Module):
    def __init__(self, projection: torch.nn.Module) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, states: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
        return hidden_state_loss(states, wanted, mask, self.projection)


def labelled(classifier: TorchClassifier, times: int = 1) -> Texts:
    """Texts with the labels that the classifier gives them."""
    texts = TEXTS * times
    return Texts(texts=texts, targets=classifier.logits(texts).argmax(1))


def batch_of(classifier: TorchClassifier, part: Texts) -> Batch:
    encoded = classifier.tokenizer(list(part.texts), padding=True, return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return Batch(inputs=inputs, targets=torch.from_numpy(part.targets), indices=torch.arange(len(part)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_soft_targets_equal_torchs_divergence_times_the_square(temperature: float):
    student, teacher = random(5, 3), 3 * random(5, 3, seed=1)
    expected = temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, -1), F.softmax(teacher / temperature, -1), reduction="none"
    ).sum(-1)
    torch.testing.assert_close(soft_target_loss(student, teacher, temperature), expected, rtol=1e-12, atol=1e-12)


def test_soft_targets_by_hand():
    # Probabilities 3/4, 1/4 against 1/2, 1/2: KL = 3/4 ln 3/2 + 1/4 ln 1/2; logits doubled for the temperature 2.
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert soft_target_loss(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_gradient_of_soft_targets_is_the_difference_of_probabilities_times_the_temperature(temperature: float):
    student, teacher = random(4, 3).requires_grad_(), random(4, 3, seed=1)
    soft_target_loss(student, teacher, temperature).sum().backward()
    difference = F.softmax(student.detach() / temperature, -1) - F.softmax(teacher / temperature, -1)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, temperature * difference, rtol=1e-10, atol=1e-12)


def test_at_a_high_temperature_the_gradient_is_that_of_centred_logits():
    # Hinton et al. 2015, §2.1: with T² in front, (z - v) / K.
    student, teacher = random(4, 3).requires_grad_(), random(4, 3, seed=1)
    soft_target_loss(student, teacher, 1e4).sum().backward()
    centred = [logits.detach() - logits.detach().mean(-1, keepdim=True) for logits in (student, teacher)]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / 3, rtol=1e-3, atol=1e-4)


def test_hidden_states_equal_torchs_mean_squared_error_of_the_real_tokens():
    student, teacher = random(2, 4, 3), random(2, 4, 5, seed=1)
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.float64)
    projection = torch.nn.Linear(3, 5, bias=False).double()
    expected = F.mse_loss(projection(student[mask == 1]), teacher[mask == 1])
    torch.testing.assert_close(hidden_state_loss(student, teacher, mask, projection), expected)
    same = random(2, 4, 3, seed=2)
    torch.testing.assert_close(hidden_state_loss(student, same, mask), F.mse_loss(student[mask == 1], same[mask == 1]))


def test_attention_scores_equal_a_loop_over_heads_and_pairs():
    student, teacher, lengths = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1), (4, 2)
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    squares = [
        (student[text, head, i, j] - teacher[text, head, i, j]).item() ** 2
        for text, length in enumerate(lengths)
        for head in range(3)
        for i in range(length)
        for j in range(length)
    ]
    assert attention_score_loss(student, teacher, mask).item() == pytest.approx(np.mean(squares), rel=1e-10)


def test_relations_equal_torchs_divergence_of_each_text_without_padding():
    student, teacher, lengths = random(2, 3, 4, 4), 2 * random(2, 3, 4, 4, seed=1), (4, 2)
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    rows = []
    for text, length in enumerate(lengths):
        own, theirs = (scores[text, :, :length, :length] for scores in (student, teacher))
        divergence = F.kl_div(F.log_softmax(own, -1), F.softmax(theirs, -1), reduction="none").sum(-1)  # (A, T)
        rows += divergence.mean(0).tolist()
    assert relation_loss(student, teacher, mask).item() == pytest.approx(np.mean(rows), rel=1e-10)


def test_gradients_are_those_of_finite_differences():
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 0]], dtype=torch.float64)
    states, scores = random(2, 3, 2).requires_grad_(), random(2, 2, 3, 3).requires_grad_()
    weight, wanted = random(4, 2, seed=5).requires_grad_(), random(2, 3, 4, seed=1)

    def projected(states: Tensor, weight: Tensor) -> Tensor:
        projection = torch.nn.Linear(2, 4, bias=False).double()
        return torch.func.functional_call(_Projected(projection), {"projection.weight": weight}, (states, wanted, mask))

    other = random(2, 2, 3, 3, seed=2)
    assert torch.autograd.gradcheck(projected, (states, weight))
    assert torch.autograd.gradcheck(lambda own: attention_score_loss(own, other, mask), scores)
    assert torch.autograd.gradcheck(lambda own: relation_loss(own, other, mask), scores)
    assert torch.autograd.gradcheck(lambda own: soft_target_loss(own, random(4, 3), 2.0), random(4, 3).requires_grad_())


def test_mean_where_counts_nothing_else():
    assert mean_where(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([1.0, 1.0, 0.0])).item() == 2


def test_what_is_seen_inside_is_what_the_network_computes():
    classifier = tiny_classifier(layers=2)
    inputs = batch_of(classifier, labelled(classifier)).inputs
    with torch.no_grad():
        seen = look_inside(classifier.network, inputs, [1])
        classifier.network.set_attn_implementation("eager")
        output = classifier.network(**inputs, output_attentions=True, output_hidden_states=True)
    torch.testing.assert_close(seen.logits, output.logits)
    for own, theirs in zip(seen.states, output.hidden_states, strict=True):
        torch.testing.assert_close(own, theirs)
    padding = inputs["attention_mask"][:, None, None, :] == 0
    probabilities = seen.attention_scores(1).masked_fill(padding, -torch.inf).softmax(-1)  # (B, A, T, T)
    torch.testing.assert_close(probabilities, output.attentions[1])
    value = classifier.network.bert.encoder.layer[1].attention.self.value
    values = value(output.hidden_states[1]).view(*inputs["input_ids"].shape, 4, 8).permute(0, 2, 1, 3)
    torch.testing.assert_close(seen.value_relations(1), values @ values.mT / math.sqrt(8))
    assert not value._forward_hooks


def test_without_soft_targets_the_loss_is_cross_entropy():
    teacher, student = tiny_classifier(layers=2), tiny_classifier(layers=1)
    part = labelled(teacher)
    batch = batch_of(student, part)
    loss = DistillationLoss(
        config=DistillationConfig(soft_weight=0.0),
        teacher=teacher.network,
        teacher_logits=torch.from_numpy(teacher.logits(part.texts)),
        labelled=torch.ones(len(part), dtype=torch.bool),
    )
    torch.testing.assert_close(loss(student.network, batch), cross_entropy(student.network, batch))


def test_a_text_without_a_label_counts_with_the_teachers_answer_alone():
    teacher, student = tiny_classifier(layers=2), tiny_classifier(layers=1)
    part = labelled(teacher)
    batch, theirs = batch_of(student, part), torch.from_numpy(teacher.logits(part.texts))
    has_label = torch.arange(len(part)) < 3
    config = DistillationConfig(soft_weight=0.25, temperature=3.0)
    loss = DistillationLoss(config=config, teacher=teacher.network, teacher_logits=theirs, labelled=has_label)
    own = student.network(**batch.inputs).logits
    soft, hard = soft_target_loss(own, theirs, 3.0), F.cross_entropy(own, batch.targets, reduction="none")
    expected = ((0.25 * soft + 0.75 * hard)[:3].sum() + soft[3:].sum()) / len(part)
    torch.testing.assert_close(loss(student.network, batch), expected)


def test_the_sum_of_all_losses():
    teacher, student = tiny_classifier(layers=4), tiny_classifier(layers=2)
    part = labelled(teacher)
    batch, theirs = batch_of(student, part), torch.from_numpy(teacher.logits(part.texts))
    layers = layer_map(student.network, teacher.network)
    assert layers == ((0, 1), (1, 3))
    loss = DistillationLoss(
        config=ALL_LOSSES,
        teacher=teacher.network,
        teacher_logits=theirs,
        labelled=torch.ones(len(part), dtype=torch.bool),
        layers=layers,
    )
    own, other = look_inside(student.network, batch.inputs, [0, 1]), look_inside(teacher.network, batch.inputs, [1, 3])
    mask = batch.inputs["attention_mask"].float()
    hidden = [hidden_state_loss(own.states[s], other.states[t], mask) for s, t in ((0, 0), (1, 2), (2, 4))]
    scores = [attention_score_loss(own.attention_scores(s), other.attention_scores(t), mask) for s, t in layers]
    relations = relation_loss(own.attention_scores(1), other.attention_scores(3), mask) + relation_loss(
        own.value_relations(1), other.value_relations(3), mask
    )
    answers = 0.5 * soft_target_loss(own.logits, theirs, 2.0).mean() + 0.5 * F.cross_entropy(own.logits, batch.targets)
    expected = answers + 0.5 * sum(hidden) / 3 + 0.25 * sum(scores) / 2 + 2.0 * relations
    torch.testing.assert_close(loss(student.network, batch), expected)


def test_the_gradient_of_the_sum_is_that_of_a_finite_difference():
    teacher, student = (tiny_classifier(layers=layers, hidden=8, heads=2, ffn=8) for layers in (2, 1))
    part = labelled(teacher)
    batch, theirs = batch_of(student, part), torch.from_numpy(teacher.logits(part.texts)).double()
    loss = DistillationLoss(
        config=ALL_LOSSES,
        teacher=teacher.network.double(),
        teacher_logits=theirs,
        labelled=torch.arange(len(part)) < 5,
        layers=((0, 1),),
    )
    weights = list(student.network.double().parameters())
    directions = [random(*weight.shape, seed=place) for place, weight in enumerate(weights)]
    gradients = torch.autograd.grad(loss(student.network, batch), weights)
    slope = sum((gradient * way).sum() for gradient, way in zip(gradients, directions, strict=True))

    def at(distance: float) -> float:
        moved = {
            name: weight.detach() + distance * way
            for (name, weight), way in zip(student.network.named_parameters(), directions, strict=True)
        }
        before = {name: weight.detach().clone() for name, weight in student.network.named_parameters()}
        student.network.load_state_dict(moved, strict=False)
        value = loss(student.network, batch).item()
        student.network.load_state_dict(before, strict=False)
        return value

    assert float(slope) == pytest.approx((at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("config", [DistillationConfig(), ALL_LOSSES], ids=["answers", "inside"])
def test_a_student_comes_nearer_to_its_teacher_which_stays_as_it_is(config: DistillationConfig):
    teacher = tiny_classifier(layers=4)
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    part = labelled(teacher, times=4)
    student = student_of(teacher, (0, 2))
    distance = np.abs(student.logits(TEXTS) - teacher.logits(TEXTS)).mean()
    trainer = TrainerConfig(epochs=6, learning_rate=1e-3, head_factor=1.0)
    result = distil(teacher, student, part, config, seed=0, trainer=trainer)
    assert result.losses[-1] < 0.7 * result.losses[0]
    assert np.abs(student.logits(TEXTS) - teacher.logits(TEXTS)).mean() < 0.7 * distance
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())


def test_the_seed_decides():
    teacher = tiny_classifier(layers=2)
    part = labelled(teacher, times=2)
    trainer = TrainerConfig(epochs=1, batch_size=4)

    def trained(seed: int) -> np.ndarray:
        student = student_of(teacher)
        distil(teacher, student, part, DistillationConfig(), seed=seed, trainer=trainer)
        return student.logits(TEXTS)

    assert np.array_equal(trained(1), trained(1))
    assert not np.array_equal(trained(1), trained(2))


def test_a_narrower_student_learns_projections_and_leaves_them_behind():
    teacher = tiny_classifier(layers=2, hidden=32, heads=4)
    student = tiny_classifier(layers=2, hidden=16, heads=4)
    names = set(student.network.state_dict())
    with learned_projections(student.network, teacher.network, wanted=True, seed=0):
        maps = dict(student.network.get_submodule(PROJECTIONS).named_parameters())
        assert {name: tuple(weight.shape) for name, weight in maps.items()} == {
            "embeddings.weight": (32, 16),
            "states.weight": (32, 16),
        }
    part = labelled(teacher, times=4)
    config = DistillationConfig(hidden_weight=1.0, attention_weight=1.0, relation_weight=1.0)
    result = distil(teacher, student, part, config, seed=0, trainer=TrainerConfig(epochs=8, learning_rate=3e-3))
    assert result.losses[-1] < 0.8 * result.losses[0]
    assert set(student.network.state_dict()) == names


def test_texts_without_labels_are_learned_from():
    teacher, nothing = tiny_classifier(layers=2), Texts(texts=(), targets=np.zeros(0, dtype=np.int64))
    student = student_of(teacher, initialisation="embeddings")
    distance = np.abs(student.logits(TEXTS) - teacher.logits(TEXTS)).mean()
    trainer = TrainerConfig(epochs=30, learning_rate=2e-3, head_factor=1.0)
    distil(teacher, student, nothing, DistillationConfig(), seed=0, trainer=trainer, unlabelled=TEXTS)
    assert np.abs(student.logits(TEXTS) - teacher.logits(TEXTS)).mean() < 0.5 * distance


def test_layers_are_evenly_spaced_or_as_chosen():
    teacher, student = (tiny_network(("a", "b"), layers=layers, hidden=8, ffn=8) for layers in (6, 3))
    assert layer_map(student, teacher) == ((0, 1), (1, 3), (2, 5))
    assert layer_map(teacher, student) == ((0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 2))
    assert layer_map(student, teacher, (0, 2, 5)) == ((0, 0), (1, 2), (2, 5))


def refused(teacher: TorchClassifier, student: TorchClassifier, config: DistillationConfig) -> str:
    with pytest.raises(UserError) as caught:
        distil(teacher, student, labelled(teacher), config, seed=0)
    return str(caught.value)


def test_what_does_not_belong_together_is_refused():
    teacher = tiny_classifier(layers=2)
    assert refused(teacher, tiny_classifier(labels=("positive", "negative")), DistillationConfig()) == (
        "the student's labels (positive, negative) are not the teacher's (negative, positive): give a student with the "
        "same ones in the same order, or an encoder without labels"
    )
    shorter = tiny_classifier(layers=1)
    shorter.max_length = 8
    assert refused(teacher, shorter, ALL_LOSSES) == (
        "the student cuts texts into other tokens than the teacher, so that their layers cannot be compared: set "
        "--distillation.hidden_weight, --distillation.attention_weight and --distillation.relation_weight to 0"
    )
    assert refused(teacher, tiny_classifier(heads=2), ALL_LOSSES) == (
        "teacher and student have attention heads of different number (2, 4), which cannot be compared one by one: set "
        "--distillation.attention_weight and --distillation.relation_weight to 0"
    )
    assert refused(teacher, tiny_classifier(layers=1), DistillationConfig(hidden_weight=1.0, teacher_layers=(2,))) == (
        "--distillation.teacher_layers 2: the teacher has 2 layers, 0 … 1"
    )
    assert refused(
        teacher, tiny_classifier(layers=1), DistillationConfig(hidden_weight=1.0, teacher_layers=(0, 1))
    ) == ("--distillation.teacher_layers 0 1: names 2 layers, but the student has 1")


def test_other_tokens_do_not_matter_where_only_answers_are_compared():
    teacher, student = tiny_classifier(layers=2), tiny_classifier(layers=1)
    student.max_length = 8
    distil(teacher, student, labelled(teacher), DistillationConfig(), seed=0, trainer=TrainerConfig(epochs=1))


def test_no_texts_are_refused():
    teacher = tiny_classifier(layers=1)
    with pytest.raises(UserError) as caught:
        distil(
            teacher,
            tiny_classifier(layers=1),
            Texts(texts=(), targets=np.zeros(0, dtype=np.int64)),
            DistillationConfig(),
            seed=0,
        )
    assert str(caught.value) == (
        "there is no text to distil on: give texts with labels, or some without (--unlabelled)"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "--distillation.temperature 0.0 must be above 0"),
        ({"temperature": math.nan}, "--distillation.temperature nan must be above 0"),
        ({"soft_weight": 1.5}, "--distillation.soft_weight 1.5 is outside 0 … 1"),
        ({"hidden_weight": -1.0}, "--distillation.hidden_weight -1.0 must not be negative"),
        ({"teacher_layers": (1, -1)}, "--distillation.teacher_layers 1 -1: layers are counted from 0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str):
    with pytest.raises(ValueError) as caught:
        DistillationConfig(**settings)
    assert str(caught.value) == message
