"""`model-optimization distil`: a small student of a trained classifier, as a variant beside it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_optimization.commands.given import original_of, refuse_to_replace
from model_optimization.config.distil import DistilConfig
from model_optimization.data import in_labels_of, load_splits
from model_optimization.distillation.controls import NAMES, Controls, LearningCurve, controls
from model_optimization.distillation.distilbert_training import distil_on_texts, general_teacher
from model_optimization.distillation.masked_language import encoder_of
from model_optimization.distillation.plain_texts import read_plain_texts
from model_optimization.distillation.students import build_student
from model_optimization.distillation.teacher_logits import TeacherLogits
from model_optimization.distillation.teacher_student import distil
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import TrainingResult
from model_optimization.types import Splits
from model_optimization.variants import VariantInfo, size_bytes, write_variant
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import share_interval

CONTROLS_FILE = "controls.json"


def run(config: DistilConfig) -> None:
    """Make the student, train it, say what it is worth, and write the variant.

    Raises:
        UserError: teacher, student and texts do not belong together, a file cannot be read, or the loss is no number.
    """
    refuse_to_replace(config.output)
    teacher, parent = original_of(config.model)
    splits = in_labels_of(teacher.labels, load_splits(config.data))
    unlabelled = _unlabelled(config, splits)
    student = build_student(teacher, config.student, seed=config.seed)
    answers = TeacherLogits(teacher, config.distillation.logits_folder)
    sizes = f"{_millions(teacher)} parameters teach {_millions(student)}"
    print(f"{sizes} on {len(splits.train) + len(unlabelled):,} texts of {splits.origin}", flush=True)
    try:
        result = _trained(answers, student, splits, unlabelled, config)
        found = _controls(answers, splits, unlabelled, config)
    except FloatingPointError as error:
        raise UserError(f"{error} (--trainer.learning_rate, or --mlm.learning_rate)") from None
    costs = {"steps": result.steps, "cpu_seconds": result.cpu_seconds, "test": scores(teacher, student, splits)}
    info = VariantInfo(
        name=config.output.name,
        kind="torch",
        labels=student.labels,
        max_length=student.max_length,
        parent=parent,
        recipe=recipe(config) | costs,
        notes=() if found is None else (found.verdict(),),
    )
    write_variant(config.output, info, lambda folder: _write(folder, student, found))
    print(f"{config.output}: {size_bytes(config.output) / 1e6:.1f} MB")


def scores(teacher: TorchClassifier, student: TorchClassifier, splits: Splits) -> dict[str, float]:
    """Accuracy of both on the test part, and the share of texts that they label differently; printed with intervals."""
    both = {"teacher": teacher, "student": student}
    labels = {name: classifier.logits(splits.test.texts).argmax(1) for name, classifier in both.items()}
    figures: dict[str, float] = {}
    for name, answers in labels.items():
        interval = share_interval(answers == splits.test.targets)
        figures[f"{name}_accuracy"] = interval.estimate
        shown = f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
        print(f"{name}: {shown} of {len(answers):,} test texts")
    figures["flips"] = float((labels["teacher"] != labels["student"]).mean())
    print(f"labelled differently by the two: {figures['flips']:.1%}")
    return figures


def recipe(config: DistilConfig) -> dict[str, Any]:
    """The settings of the training, as JSON values."""
    sections = ("student", "distillation", "trainer", *(["mlm"] if config.mlm.texts is not None else []))
    settings = {name: asdict(getattr(config, name)) for name in sections}
    return {"method": "distillation", "seed": config.seed} | json.loads(json.dumps(settings, default=str))


def controls_record(found: Controls) -> dict[str, Any]:
    """What the controls came to, as JSON values."""
    return {
        "verdict": found.verdict(),
        "teacher_accuracy": found.teacher_accuracy,
        "difference": asdict(found.against("labels_only", "distilled")),
        "difference_by_seed": found.by_seed("labels_only", "distilled"),
        "arms": {
            arm: {
                "accuracy": asdict(found.interval(arm)),
                "spread_over_seeds": found.spread(arm),
                "seeds": [
                    {"seed": one.seed, "accuracy": one.accuracy, "steps": one.steps, "curve": one.curve}
                    for one in found.of(arm)
                ],
            }
            for arm in found.arms
        },
    }


def _trained(
    answers: TeacherLogits,
    student: TorchClassifier,
    splits: Splits,
    unlabelled: tuple[str, ...],
    config: DistilConfig,
) -> TrainingResult:
    if config.mlm.texts is not None:
        _learn_words(answers.teacher, student, config, splits)
    curve = LearningCurve(student, splits.validation, config.trainer.epochs)
    result = distil(
        answers.teacher,
        student,
        splits.train,
        config.distillation,
        seed=config.seed,
        trainer=config.trainer,
        unlabelled=unlabelled,
        answers=answers,
        after_step=curve,
    )
    for step, accuracy in curve.points:
        print(f"step {step:,}: {accuracy:.4f} of the validation texts")
    return result


def _controls(
    answers: TeacherLogits, splits: Splits, unlabelled: tuple[str, ...], config: DistilConfig
) -> Controls | None:
    if not config.controls.seeds:
        return None
    found = controls(
        answers.teacher,
        splits,
        config.student,
        config.distillation,
        config.controls,
        first_seed=config.seed,
        trainer=config.trainer,
        unlabelled=unlabelled,
        answers=answers,
    )
    for arm in found.arms:
        interval, spread = found.interval(arm), found.spread(arm)
        over_seeds = "" if spread is None else f", ± {spread:.4f} over seeds"
        print(f"{NAMES[arm]}: {interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]{over_seeds}")
    print(found.verdict())
    return found


def _learn_words(teacher: TorchClassifier, student: TorchClassifier, config: DistilConfig, splits: Splits) -> None:
    """The stage on plain texts: its teacher is another encoder, or the classifier's own."""
    assert config.mlm.texts is not None
    texts = read_plain_texts(config.mlm.texts, "--mlm.texts", without=_held_out(splits))
    if config.mlm.teacher is None:
        encoder, head = encoder_of(teacher.network), None
    else:
        encoder, head = general_teacher(config.mlm.teacher, student, seed=config.seed)
    print(f"the student guesses words of {len(texts):,} plain texts")
    distil_on_texts(encoder, student, texts, config.mlm, config.trainer, seed=config.seed, head=head)


def _unlabelled(config: DistilConfig, splits: Splits) -> tuple[str, ...]:
    if config.unlabelled is None:
        return ()
    return read_plain_texts(config.unlabelled, "--unlabelled", without={*_held_out(splits), *splits.train.texts})


def _held_out(splits: Splits) -> set[str]:
    return {*splits.validation.texts, *splits.test.texts}


def _write(folder: Path, student: TorchClassifier, found: Controls | None) -> None:
    student.save(folder)
    if found is None:
        return
    from model_optimization.distillation.figures import controls_figure, learning_curves_figure
    from roadmap_shared.report import figure_png

    (folder / CONTROLS_FILE).write_text(json.dumps(controls_record(found), indent=2) + "\n", encoding="utf-8")
    (folder / "controls.png").write_bytes(figure_png(controls_figure(found)))
    (folder / "learning_curves.png").write_bytes(figure_png(learning_curves_figure(found)))


def _millions(classifier: TorchClassifier) -> str:
    return f"{sum(parameter.numel() for parameter in classifier.network.parameters()) / 1e6:.1f} million"
