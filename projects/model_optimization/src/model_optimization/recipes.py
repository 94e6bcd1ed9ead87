"""How each variant of the main job is made, and from what.

A recipe takes the workshop and returns the variant's folder. What it starts from it asks the workshop for, which makes
each variant once: `smallest` is the student, exported, in int8, with a word table of 4 bits.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_optimization.config.quantization import DynamicConfig
from model_optimization.config.run import OptimizationConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.deployment.onnx_conversion import export_variant
from model_optimization.distillation.students import build_student, drawn_anew
from model_optimization.distillation.teacher_logits import TeacherLogits
from model_optimization.distillation.teacher_student import distil
from model_optimization.model import untrained_classifier
from model_optimization.pruning.magnitude_pruning import prune_magnitude
from model_optimization.pruning.recipes import prune_structured
from model_optimization.quantization.dynamic_quantization import quantize_dynamic_variant
from model_optimization.quantization.mixed_precision import choose_exclusions
from model_optimization.quantization.quantization_aware_training import train_quantization_aware
from model_optimization.quantization.static_quantization import quantize_static_variant
from model_optimization.quantization.weight_only import quantize_weights_only_variant
from model_optimization.run_layout import ORIGINAL
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import fine_tune, tokenised
from model_optimization.variants import VariantInfo, write_variant
from model_optimization.workshop import Recipe, Workshop


def _original(shop: Workshop) -> Path:
    config = shop.config
    given = shop.given
    if given is not None:
        info = VariantInfo(name=ORIGINAL, kind="torch", labels=given.labels, max_length=given.max_length)
        return write_variant(shop.shelf.place(ORIGINAL), info, given.save)

    def train() -> TorchClassifier:
        classifier = untrained_classifier(config.model, shop.splits.labels, shop.seed)
        _fine_tune(classifier, shop, config.trainer)
        return classifier

    return shop.trained(ORIGINAL, None, {"method": "fine-tuning", "trainer": config.trainer}, train)


def _onnx(shop: Workshop) -> Path:
    return export_variant(shop.folder(ORIGINAL), shop.shelf.place("onnx"), shop.config.export, name="onnx")


def _int8(shop: Workshop) -> Path:
    return quantize_dynamic_variant(shop.folder("onnx"), shop.shelf.place("int8"), shop.config.dynamic, name="int8")


def _int8_mixed(shop: Workshop) -> Path:
    shop.mixed = choose_exclusions(
        shop.folder("onnx"),
        shop.shelf.place("int8_mixed"),
        shop.splits.validation,
        shop.config.mixed,
        name="int8_mixed",
        dynamic=shop.config.dynamic,
    )
    return shop.mixed.variant


def _int8_static(shop: Workshop) -> Path:
    return quantize_static_variant(
        shop.folder("onnx"),
        shop.shelf.place("int8_static"),
        shop.splits.train.texts,
        shop.config.static,
        name="int8_static",
    )


def _int8_qat(shop: Workshop) -> Path:
    def train() -> TorchClassifier:
        return train_quantization_aware(shop.network(ORIGINAL), shop.splits.train, shop.config.qat, seed=shop.seed)[0]

    settings = {"method": "quantisation-aware training", "qat": shop.config.qat}
    trained = shop.trained("qat_fp32", ORIGINAL, settings, train)
    return _exported_int8(shop, trained, "int8_qat", shop.config.dynamic)


def _weights_8bit(shop: Workshop) -> Path:
    return _weights(shop, "weights_8bit", 8)


def _weights_4bit(shop: Workshop) -> Path:
    return _weights(shop, "weights_4bit", 4)


def _weights(shop: Workshop, name: str, bits: Any) -> Path:
    config = replace(shop.config.weight_only, bits=bits)
    return quantize_weights_only_variant(shop.folder("onnx"), shop.shelf.place(name), config, name=name)


def _half_zeros(shop: Workshop) -> Path:
    config = shop.config
    settings = {"method": "magnitude pruning", "magnitude": config.magnitude, "trainer": config.repair}
    return shop.trained(
        "half_zeros",
        ORIGINAL,
        settings,
        lambda: prune_magnitude(
            shop.network(ORIGINAL), shop.splits.train, config.magnitude, config.repair, seed=shop.seed
        )[0],
    )


def _half_ffn(shop: Workshop) -> Path:
    config = shop.config

    def train() -> TorchClassifier:
        shop.cut = prune_structured(
            shop.network(ORIGINAL), shop.splits.train, shop.splits.validation, config.pruning, seed=shop.seed
        )
        _fine_tune(shop.cut.classifier, shop, config.repair)
        return shop.cut.classifier

    settings = {"method": "structured pruning", "pruning": config.pruning, "trainer": config.repair}
    return shop.trained("half_ffn", ORIGINAL, settings, train)


def _student(shop: Workshop) -> Path:
    config = shop.config

    def train() -> TorchClassifier:
        teacher = shop.network(ORIGINAL)
        student = build_student(teacher, config.student, seed=shop.seed)
        distil(
            teacher,
            student,
            shop.splits.train,
            config.distillation,
            seed=shop.seed,
            trainer=config.student_trainer,
            answers=TeacherLogits(teacher, config.distillation.logits_folder),
        )
        return student

    return shop.trained("student", ORIGINAL, _student_settings(config, distillation=config.distillation), train)


def _student_labels_only(shop: Workshop) -> Path:
    return _control(shop, "student_labels_only", random_start=False)


def _student_random_start(shop: Workshop) -> Path:
    return _control(shop, "student_random_start", random_start=True)


def _control(shop: Workshop, name: str, *, random_start: bool) -> Path:
    """A student that takes the same steps without the teacher's answers."""
    config = shop.config

    def train() -> TorchClassifier:
        student = build_student(shop.network(ORIGINAL), config.student, seed=shop.seed)
        if random_start:
            student.network = drawn_anew(student.network, shop.seed, embeddings=False)
        _fine_tune(student, shop, config.student_trainer)
        return student

    return shop.trained(name, ORIGINAL, _student_settings(config, random_start=random_start), train)


def _student_settings(config: OptimizationConfig, **more: Any) -> dict[str, Any]:
    method = "distillation" if "distillation" in more else "fine-tuning on labels alone"
    return {"method": method, "student": config.student, "trainer": config.student_trainer, **more}


def _smallest(shop: Workshop) -> Path:
    return _exported_int8(shop, shop.folder("student"), "smallest", replace(shop.config.dynamic, embeddings="int4"))


def _exported_int8(shop: Workshop, trained: Path, name: str, config: DynamicConfig) -> Path:
    """A torch variant as an int8 graph; the fp32 graph in between is not kept."""
    between = shop.shelf.place(f".{name}-fp32")
    try:
        export_variant(trained, between, shop.config.export, name=trained.name)
        return quantize_dynamic_variant(between, shop.shelf.place(name), config, name=name)
    finally:
        shutil.rmtree(between, ignore_errors=True)


def _fine_tune(classifier: TorchClassifier, shop: Workshop, trainer: TrainerConfig) -> None:
    fine_tune(classifier.network, tokenised(classifier, shop.splits.train), trainer, seed=shop.seed)


RECIPES: dict[str, Recipe] = {
    ORIGINAL: _original,
    "onnx": _onnx,
    "int8": _int8,
    "int8_mixed": _int8_mixed,
    "int8_static": _int8_static,
    "int8_qat": _int8_qat,
    "weights_8bit": _weights_8bit,
    "weights_4bit": _weights_4bit,
    "half_zeros": _half_zeros,
    "half_ffn": _half_ffn,
    "student": _student,
    "student_labels_only": _student_labels_only,
    "student_random_start": _student_random_start,
    "smallest": _smallest,
}

SUMMARIES: dict[str, str] = {
    ORIGINAL: "the classifier as trained, in torch and fp32",
    "onnx": "exported, computed by ONNX Runtime in fp32",
    "int8": "weights in int8 per channel, activations in int8 by the range of each batch",
    "int8_mixed": "the same, with the most sensitive matrices left in fp32",
    "int8_static": "int8 with activation ranges fixed by calibration texts",
    "int8_qat": "int8 after training with the rounding errors in the forward pass",
    "weights_8bit": "weights in 8 bits, turned back into fp32 while they are multiplied",
    "weights_4bit": "weights in 4 bits, turned back into fp32 while they are multiplied",
    "half_zeros": "half of the weights set to 0 while training: same matrices, same speed",
    "half_ffn": "half of the feed-forward neurons cut out: smaller matrices, then repaired by training",
    "student": "half the layers, taught by the original",
    "student_labels_only": "control: the same student without a teacher, by equal steps",
    "student_random_start": "control: the same student without a teacher, from random weights",
    "smallest": "the student, exported, in int8, its word table in 4 bits",
}
