"""A small student learns what a large teacher answers: each loss by itself, their sum, and the training.

Shapes: B texts of a batch, T tokens, K labels, H width of the states, A attention heads, D width of a head.
Masks are (B, T), 1 at tokens and 0 at padding, which no loss counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from model_optimization.config.distillation import DistillationConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.distillation.inside import (
    PROJECTIONS,
    Inside,
    LayerMap,
    Projections,
    layer_map,
    learned_projections,
    look_inside,
)
from model_optimization.distillation.pairs import check_pair
from model_optimization.distillation.teacher_logits import TeacherLogits
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import AfterStep, Batch, TokenisedTexts, TrainingResult, fine_tune, tokenised
from model_optimization.types import Texts
from roadmap_shared.errors import UserError

DEFAULT_TRAINER = TrainerConfig()


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)) of each row.

    The teacher's probabilities say more than a label: which wrong answers it holds for nearly right (Hinton, Vinyals &
    Dean 2015, "Distilling the Knowledge in a Neural Network", §2). Gradients shrink by 1 / T²; the factor makes up for
    that, so that the weights of the losses mean the same at every temperature.

    Args:
        student_logits, teacher_logits: (B, K).
        temperature: T, above 0.

    Returns:
        (B,), 0 where both agree.
    """
    teacher = torch.log_softmax(teacher_logits / temperature, dim=-1)
    student = torch.log_softmax(student_logits / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(-1)


def hidden_state_loss(student: Tensor, teacher: Tensor, mask: Tensor, projection: nn.Module | None = None) -> Tensor:
    """Mean squared distance of two layers' states, after a learned map where their widths differ.

    Jiao et al. 2020, "TinyBERT", §3.1: MSE(H_S W, H_T).

    Args:
        student: (B, T, H).
        teacher: (B, T, H').
        mask: (B, T).
        projection: H -> H'. None: H = H'.
    """
    projected = student if projection is None else projection(student)  # (B, T, H')
    return mean_where((projected - teacher).square().mean(-1), mask)


def attention_score_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared distance of attention scores before the softmax, over heads and pairs of tokens.

    Jiao et al. 2020, §3.1: scores are fitted rather than probabilities, which converges faster.

    Args:
        student, teacher: (B, A, T, T), of `Inside.attention_scores`.
        mask: (B, T).
    """
    pairs = mask[:, :, None] * mask[:, None, :]  # (B, T, T)
    return mean_where((student - teacher).square().mean(1), pairs)


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean over heads and tokens of KL(softmax(teacher) ‖ softmax(student)), each row over the tokens of the text.

    Wang et al. 2020, "MiniLM", §3.1 with products of queries and keys (attention) and §3.2 with products of values and
    values. Rows are distributions over tokens: the two networks may differ in width, not in the number of heads.

    Args:
        student, teacher: (B, A, T, T), of `Inside.attention_scores` or `Inside.value_relations`.
        mask: (B, T).
    """
    padding = mask[:, None, None, :] == 0
    theirs = torch.log_softmax(teacher.masked_fill(padding, torch.finfo(teacher.dtype).min), dim=-1)
    own = torch.log_softmax(student.masked_fill(padding, torch.finfo(student.dtype).min), dim=-1)
    divergence = (theirs.exp() * (theirs - own)).sum(-1)  # (B, A, T)
    return mean_where(divergence.mean(1), mask)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask, of the same shape, is 1."""
    return (values * mask).sum() / mask.sum()


@dataclass(frozen=True, kw_only=True)
class DistillationLoss:
    """The weighted sum of all losses; called with the student's network and a batch, as `fine_tune` does."""

    config: DistillationConfig
    teacher: PreTrainedModel
    """Runs at each step where a loss looks inside."""

    teacher_logits: Tensor
    """(N, K) of all training texts."""

    labelled: Tensor
    """(N,) bool. A text without a label has the teacher's probabilities for its only target."""

    layers: LayerMap = ()

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of a batch, ()."""
        if not self.config.looks_inside:
            return self.of_answers(network(**batch.inputs).logits, batch)
        assert isinstance(network, PreTrainedModel)
        with torch.no_grad():
            theirs = look_inside(self.teacher, batch.inputs, [teacher for _, teacher in self.layers])
        own = look_inside(network, batch.inputs, [student for student, _ in self.layers])
        mask = batch.inputs["attention_mask"].to(own.logits.dtype)
        projections = dict(getattr(network, PROJECTIONS, nn.ModuleDict()).items())
        return self.of_answers(own.logits, batch) + self.of_states(own, theirs, mask, projections)

    def of_answers(self, logits: Tensor, batch: Batch) -> Tensor:
        """Teacher's probabilities and labels, for (B, K) logits."""
        share = self.config.soft_weight
        soft = soft_target_loss(logits, self.teacher_logits[batch.indices], self.config.temperature)
        hard = F.cross_entropy(logits, batch.targets, reduction="none")
        return torch.where(self.labelled[batch.indices], share * soft + (1 - share) * hard, soft).mean()

    def of_states(self, own: Inside, theirs: Inside, mask: Tensor, projections: Projections) -> Tensor:
        """What the networks compute on the way to their answers: the mean over the compared layers, ()."""
        loss = torch.zeros(())
        if self.config.hidden_weight:
            loss = loss + self.config.hidden_weight * self._states(own, theirs, mask, projections)
        if self.config.attention_weight:
            distances = [
                attention_score_loss(own.attention_scores(student), theirs.attention_scores(teacher), mask)
                for student, teacher in self.layers
            ]
            loss = loss + self.config.attention_weight * torch.stack(distances).mean()
        if self.config.relation_weight:
            student, teacher = self.layers[-1]
            attention = relation_loss(own.attention_scores(student), theirs.attention_scores(teacher), mask)
            values = relation_loss(own.value_relations(student), theirs.value_relations(teacher), mask)
            loss = loss + self.config.relation_weight * (attention + values)
        return loss

    def _states(self, own: Inside, theirs: Inside, mask: Tensor, projections: Projections) -> Tensor:
        distances = [hidden_state_loss(own.states[0], theirs.states[0], mask, projections.get("embeddings"))]
        for student, teacher in self.layers:  # states[0] are the embeddings: those of layer i stand at i + 1
            pair = own.states[student + 1], theirs.states[teacher + 1]
            distances.append(hidden_state_loss(*pair, mask, projections.get("states")))
        return torch.stack(distances).mean()


def distil(
    teacher: TorchClassifier,
    student: TorchClassifier,
    train: Texts,
    config: DistillationConfig,
    *,
    seed: int,
    trainer: TrainerConfig = DEFAULT_TRAINER,
    unlabelled: Sequence[str] = (),
    answers: TeacherLogits | None = None,
    after_step: AfterStep | None = None,
) -> TrainingResult:
    """Train the student in place on what the teacher answers.

    Args:
        teacher, student: with the same labels in the same order.
        train: texts with labels, as `teacher.labels` are numbered.
        config: temperature and weights.
        seed: of the order of the texts, of dropout and of learned projections.
        trainer: epochs, rates, batches.
        unlabelled: further texts, whose only target is the teacher's answer.
        answers: the teacher's logits, where other trainings need them too.
        after_step: called after each optimiser step.

    Raises:
        UserError: the two do not belong together, or there is no text.
        FloatingPointError: the loss is no number; the learning rate is too high.
    """
    check_pair(teacher, student, config)
    data, labelled = training_texts(student, train, unlabelled)
    answers = answers or TeacherLogits(teacher, config.logits_folder)
    loss = DistillationLoss(
        config=config,
        teacher=teacher.network,
        teacher_logits=torch.from_numpy(answers.of([*train.texts, *unlabelled])),
        labelled=labelled,
        layers=layer_map(student.network, teacher.network, config.teacher_layers) if config.looks_inside else (),
    )
    with learned_projections(student.network, teacher.network, wanted=config.hidden_weight > 0, seed=seed):
        return fine_tune(
            student.network, data, trainer, seed=seed, loss=loss, after_step=after_step, description="distilling"
        )


def training_texts(
    student: TorchClassifier, train: Texts, unlabelled: Sequence[str] = ()
) -> tuple[TokenisedTexts, Tensor]:
    """Labelled texts, then those without a label, and which are which, (N,) bool. A missing label stands as 0.

    Raises:
        UserError: there is no text.
    """
    texts = (*train.texts, *unlabelled)
    if not texts:
        raise UserError("there is no text to distil on: give texts with labels, or some without (--unlabelled)")
    targets = np.concatenate([train.targets, np.zeros(len(unlabelled), dtype=np.int64)])
    labelled = torch.arange(len(texts)) < len(train)
    return tokenised(student, Texts(texts=texts, targets=targets)), labelled
