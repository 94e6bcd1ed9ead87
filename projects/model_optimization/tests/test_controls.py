import numpy as np
import pytest

from model_optimization.config.distillation import Arm, ControlsConfig, DistillationConfig, StudentConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.distillation.controls import (
    Controls,
    LearningCurve,
    Trained,
    controls,
    learn_labels,
    repeated,
)
from model_optimization.distillation.figures import controls_figure, learning_curves_figure
from model_optimization.distillation.students import student_of
from model_optimization.distillation.teacher_student import distil
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Splits, Texts

from .tiny_models import TEXTS, tiny_classifier

TRAINER = TrainerConfig(epochs=2, batch_size=4, learning_rate=1e-3)


def labelled(classifier: TorchClassifier, texts: tuple[str, ...]) -> Texts:
    return Texts(texts=texts, targets=classifier.logits(texts).argmax(1))


def splits(teacher: TorchClassifier) -> Splits:
    part = labelled(teacher, TEXTS)
    return Splits(labels=teacher.labels, train=part, validation=part, test=part, origin="made")


def trained(arm: Arm, seed: int, correct: list[int]) -> Trained:
    return Trained(
        arm=arm,
        seed=seed,
        correct=np.array(correct, dtype=bool),
        curve=((0, 0.5), (10, 0.75)),
        steps=10,
        cpu_seconds=1.0,
    )


def made(distilled: list[list[int]], labels_only: list[list[int]]) -> Controls:
    both: list[tuple[Arm, list[list[int]]]] = [("distilled", distilled), ("labels_only", labels_only)]
    students = [trained(arm, seed, row) for arm, rows in both for seed, row in enumerate(rows)]
    return Controls(trained=tuple(students), teacher_accuracy=0.9, teacher_validation_accuracy=0.8)


def test_accuracies_differences_and_spreads_by_hand():
    found = made([[1, 1, 1, 0], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 1, 0, 0]])
    assert [one.accuracy for one in found.of("distilled")] == [0.75, 0.5]
    assert found.interval("distilled").estimate == pytest.approx(0.625)
    assert found.spread("distilled") == pytest.approx(0.25 / 2**0.5)
    assert found.hit_rate("labels_only").tolist() == [1, 0.5, 0, 0]
    assert found.against("labels_only", "distilled").difference == pytest.approx(0.25)
    assert found.by_seed("labels_only", "distilled") == (0.5, 0.0)
    assert made([[1, 0]], [[1, 0]]).spread("distilled") is None


def test_the_verdict_needs_texts_and_seeds():
    better, worse = [1] * 90 + [0] * 10, [1] * 60 + [0] * 40
    start = "distilled against no distillation: "
    assert made([better, better], [worse, worse]).verdict().startswith(start + "better, +30.0 points [")
    assert made([worse, worse], [better, better]).verdict().startswith(start + "worse, -30.0 points [")
    # Ahead over texts, but behind with one of the seeds.
    mixed = made([better, worse], [worse, [1] * 61 + [0] * 39]).verdict()
    assert mixed.startswith(start + "not told apart, +14.5 points [")
    assert mixed.endswith("ahead with 1 of 2 seeds")


def test_all_arms_take_the_same_steps():
    teacher = tiny_classifier(layers=2)
    arms: tuple[Arm, ...] = ("distilled", "labels_only", "random_init", "random_init_labels_only")
    found = controls(
        teacher,
        splits(teacher),
        StudentConfig(ffn=32),
        DistillationConfig(),
        ControlsConfig(arms=arms, seeds=2),
        first_seed=5,
        trainer=TRAINER,
        unlabelled=("a clever film", "so bad", "boring !", "a fine plot"),
    )
    assert found.arms == arms
    assert [(one.arm, one.seed) for one in found.trained] == [(arm, seed) for seed in (5, 6) for arm in arms]
    assert {one.steps for one in found.trained} == {2 * 3}  # 8 labelled texts and 4 others, 4 in a batch
    assert {tuple(step for step, _ in one.curve) for one in found.trained} == {(0, 3, 6)}
    assert found.teacher_accuracy == found.teacher_validation_accuracy == 1.0
    starts = {arm: [one.curve[0][1] for one in found.of(arm)] for arm in arms}
    assert starts["distilled"] == starts["labels_only"]
    assert starts["random_init"] == starts["random_init_labels_only"]


def test_the_distilled_arm_is_what_distil_makes():
    teacher = tiny_classifier(layers=2)
    data, config = splits(teacher), DistillationConfig()
    found = controls(teacher, data, StudentConfig(), config, ControlsConfig(seeds=1), first_seed=3, trainer=TRAINER)
    student = student_of(teacher)
    curve = LearningCurve(student, data.validation, TRAINER.epochs)
    distil(teacher, student, data.train, config, seed=3, trainer=TRAINER, after_step=curve)
    (distilled,) = found.of("distilled")
    assert distilled.curve == tuple(curve.points)
    assert np.array_equal(distilled.correct, student.logits(TEXTS).argmax(1) == data.test.targets)


def test_watching_a_training_does_not_change_it():
    teacher = tiny_classifier(layers=2)
    part = labelled(teacher, TEXTS)
    watched, alone = student_of(teacher), student_of(teacher)
    curve = LearningCurve(watched, part, TRAINER.epochs)
    learn_labels(watched, part, TRAINER, seed=0, after_step=curve)
    learn_labels(alone, part, TRAINER, seed=0)
    assert np.array_equal(watched.logits(TEXTS), alone.logits(TEXTS))
    assert [step for step, _ in curve.points] == [0, 2, 4]


def test_texts_are_repeated_from_the_beginning():
    part = Texts(texts=("a", "b", "c"), targets=np.array([0, 1, 2]))
    again = repeated(part, 5)
    assert again.texts == ("a", "b", "c", "a", "b")
    assert again.targets.tolist() == [0, 1, 2, 0, 1]
    assert repeated(part, 3) is part


def test_the_figures_show_every_student():
    found = made([[1, 1, 1, 0], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 1, 0, 0]])
    (axis,) = controls_figure(found).axes
    dots = [line.get_xdata() for line in axis.lines if line.get_marker() == "o"]
    assert [sorted(row) for row in dots] == [[0.5, 0.75], [0.25, 0.5]]
    means = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "D"]
    assert means == [pytest.approx(0.625), pytest.approx(0.375)]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["distilled", "no distillation"]
    (axis,) = learning_curves_figure(found).axes
    assert len([line for line in axis.lines if line.get_marker() == "None"]) == 4 + 1
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["distilled", "no distillation", "teacher"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": -1}, "--controls.seeds -1 must not be negative"),
        (
            {"arms": ("distilled",)},
            "--controls.arms must name each student once, distilled and labels_only among them",
        ),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str):
    with pytest.raises(ValueError) as caught:
        ControlsConfig(**settings)
    assert str(caught.value) == message
