"""Whether distillation helped: the same student without it, and without its start, by equal steps and over seeds.

A small network that is trained well on labels is often nearly as good. What a teacher is worth shows only beside a
student of the same form that saw the same texts in the same order, as often, without the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_optimization.config.distillation import Arm, ControlsConfig, DistillationConfig, StudentConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.distillation.students import build_student, drawn_anew
from model_optimization.distillation.teacher_logits import TeacherLogits
from model_optimization.distillation.teacher_student import DEFAULT_TRAINER, distil
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import AfterStep, TrainingResult, fine_tune, tokenised
from model_optimization.types import Splits, Texts
from roadmap_shared.metrics import (
    Interval,
    PairedComparison,
    bootstrap_interval,
    mean_and_spread,
    paired_bootstrap,
)

NAMES: dict[Arm, str] = {
    "distilled": "distilled",
    "labels_only": "no distillation",
    "random_init": "random start, distilled",
    "random_init_labels_only": "random start, no distillation",
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One student of one arm and seed. Shapes: N test texts."""

    arm: Arm
    seed: int
    correct: NDArray[np.bool_]
    """(N,)."""

    curve: tuple[tuple[int, float], ...]
    """Steps done, and accuracy on the validation part then."""

    steps: int
    cpu_seconds: float

    @property
    def accuracy(self) -> float:
        """On the test part."""
        return float(self.correct.mean())


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Students of all arms on the same test texts."""

    trained: tuple[Trained, ...]
    teacher_accuracy: float
    """On the test part."""

    teacher_validation_accuracy: float

    def of(self, arm: Arm) -> list[Trained]:
        """The students of an arm, one for each seed."""
        return [one for one in self.trained if one.arm == arm]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """In the order in which they were trained."""
        return tuple(dict.fromkeys(one.arm for one in self.trained))

    def spread(self, arm: Arm) -> float | None:
        """Sample standard deviation of the accuracy over seeds; None with one seed."""
        accuracies = [one.accuracy for one in self.of(arm)]
        return mean_and_spread(accuracies)[1] if len(accuracies) > 1 else None

    def interval(self, arm: Arm) -> Interval:
        """Accuracy, the mean over seeds, with the interval over test texts."""
        return bootstrap_interval(self.hit_rate(arm))

    def hit_rate(self, arm: Arm) -> NDArray[np.float64]:
        """(N,) share of the arm's students that label each text rightly."""
        return np.mean([one.correct for one in self.of(arm)], axis=0)

    def against(self, arm: Arm, other: Arm) -> PairedComparison:
        """By how much `other` is more accurate than `arm` on the same texts, the mean over seeds.

        The interval is over texts: that over seeds stands beside it as `by_seed`, being of few of them.
        """
        return paired_bootstrap(self.hit_rate(arm), self.hit_rate(other))

    def by_seed(self, arm: Arm, other: Arm) -> tuple[float, ...]:
        """The same difference of each seed's pair of students."""
        pairs = zip(self.of(arm), self.of(other), strict=True)
        return tuple(second.accuracy - first.accuracy for first, second in pairs)

    def verdict(self, arm: Arm = "labels_only", other: Arm = "distilled") -> str:
        """In one sentence, what `other` has that `arm` has not, as far as these texts and seeds can tell."""
        found, seeds = self.against(arm, other), self.by_seed(arm, other)
        difference = f"{100 * found.difference:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
        better = sum(one > 0 for one in seeds)
        if found.low > 0 and better == len(seeds):
            answer = "better"
        elif found.high < 0 and not any(one >= 0 for one in seeds):
            answer = "worse"
        else:
            answer = "not told apart"
        return f"{NAMES[other]} against {NAMES[arm]}: {answer}, {difference}, ahead with {better} of {len(seeds)} seeds"


def controls(
    teacher: TorchClassifier,
    splits: Splits,
    student: StudentConfig,
    distillation: DistillationConfig,
    config: ControlsConfig,
    *,
    first_seed: int,
    trainer: TrainerConfig = DEFAULT_TRAINER,
    unlabelled: Sequence[str] = (),
    answers: TeacherLogits | None = None,
) -> Controls:
    """Train every arm with every seed, by equal steps: batches, their order and the schedule are the same.

    Further texts without labels go to the distilled arms; the others see labelled texts again instead.

    Args:
        teacher: with the labels of `splits`.
        splits: learned from, followed on the validation part, measured on the test part.
        student: form and start of the student; the random arms draw all its weights anew.
        distillation: losses of the distilled arms.
        config: arms and the number of seeds, at least 1.
        first_seed: the seeds are this one and those after it.
        trainer: of all arms.
        unlabelled: texts for the teacher to label.
        answers: the teacher's logits, where other trainings need them too.

    Raises:
        UserError: student and teacher do not belong together.
        FloatingPointError: a loss is no number; the learning rate is too high.
    """
    answers = answers or TeacherLogits(teacher, distillation.logits_folder)
    trained: list[Trained] = []
    for seed in range(first_seed, first_seed + config.seeds):
        for arm in config.arms:
            learner = _learner(teacher, student, arm, seed)
            curve = LearningCurve(learner, splits.validation, trainer.epochs)
            if arm in ("distilled", "random_init"):
                result = distil(
                    teacher,
                    learner,
                    splits.train,
                    distillation,
                    seed=seed,
                    trainer=trainer,
                    unlabelled=unlabelled,
                    answers=answers,
                    after_step=curve,
                )
            else:
                again = repeated(splits.train, len(splits.train) + len(unlabelled))
                result = learn_labels(learner, again, trainer, seed=seed, after_step=curve)
            trained.append(_measured(arm, seed, learner, splits.test, curve, result))
            print(f"{NAMES[arm]}, seed {seed}: {trained[-1].accuracy:.4f} of the test texts, {result.steps} steps")
    return Controls(
        trained=tuple(trained),
        teacher_accuracy=float(correct(teacher, splits.test).mean()),
        teacher_validation_accuracy=float(correct(teacher, splits.validation).mean()),
    )


def learn_labels(
    student: TorchClassifier, train: Texts, trainer: TrainerConfig, *, seed: int, after_step: AfterStep | None = None
) -> TrainingResult:
    """Train in place on labels alone: what the student can do without a teacher."""
    return fine_tune(student.network, tokenised(student, train), trainer, seed=seed, after_step=after_step)


def correct(classifier: TorchClassifier, part: Texts) -> NDArray[np.bool_]:
    """(N,) whether each text gets its label."""
    return classifier.logits(part.texts).argmax(1) == part.targets


def repeated(part: Texts, wanted: int) -> Texts:
    """So many texts, from the beginning again where there are fewer."""
    if wanted == len(part):
        return part
    indices = np.resize(np.arange(len(part)), wanted)
    return Texts(texts=tuple(part.texts[index] for index in indices), targets=part.targets[indices])


class LearningCurve:
    """Called after each step of a training: the accuracy on some texts before it, and at the end of each epoch.

    Measuring draws no random number, so that a training comes out the same whether it is watched or not.
    """

    def __init__(self, student: TorchClassifier, part: Texts, epochs: int) -> None:
        self.student, self.part, self.epochs = student, part, epochs
        self.points = [(0, float(correct(student, part).mean()))]

    def __call__(self, done: int, steps: int) -> None:
        """After `done` of `steps` steps."""
        if done % (steps // self.epochs) == 0:
            self.points.append((done, float(correct(self.student, self.part).mean())))
            self.student.network.train()


def _learner(teacher: TorchClassifier, student: StudentConfig, arm: Arm, seed: int) -> TorchClassifier:
    learner = build_student(teacher, student, seed=seed)
    if not arm.startswith("random"):
        return learner
    fresh = drawn_anew(learner.network, seed, embeddings=False)
    return TorchClassifier(fresh, learner.tokenizer, learner.max_length)


def _measured(
    arm: Arm, seed: int, learner: TorchClassifier, test: Texts, curve: LearningCurve, result: TrainingResult
) -> Trained:
    return Trained(
        arm=arm,
        seed=seed,
        correct=correct(learner, test),
        curve=tuple(curve.points),
        steps=result.steps,
        cpu_seconds=result.cpu_seconds,
    )
