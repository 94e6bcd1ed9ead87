"""How a student is made, what it learns from its teacher, and what it is compared with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(kw_only=True, frozen=True)
class StudentConfig:
    """The small network: parts of the teacher, or one that is given."""

    path: Path | None = None
    """Folder of a classifier or an encoder that becomes the student. None: it is cut out of the teacher."""

    layers: tuple[int, ...] = ()
    """The teacher's layers that become the student's, from 0. Empty: every second one, the last among them."""

    ffn: int | None = None
    """Neurons of a feed-forward block: those of the teacher that weigh most. None: all."""

    initialisation: Literal["teacher", "embeddings", "random"] = "teacher"
    """What is taken over: all weights, the embeddings alone, or none."""

    frozen_embeddings: bool = False
    """Keep the embeddings as they are: an optimiser step takes less time and memory."""

    def __post_init__(self) -> None:
        if self.path is not None and (self.layers or self.ffn is not None or self.initialisation != "teacher"):
            raise ValueError(
                f"--student.path {self.path} is a student already: --student.layers, --student.ffn and "
                "--student.initialisation do not go with it"
            )
        if len(set(self.layers)) != len(self.layers) or min(self.layers, default=0) < 0:
            raise ValueError(f"--student.layers {' '.join(map(str, self.layers))}: each layer once, counted from 0")
        if self.ffn is not None and self.ffn < 1:
            raise ValueError(f"--student.ffn {self.ffn} must be at least 1")


@dataclass(kw_only=True, frozen=True)
class DistillationConfig:
    """Weights of the losses. That of the labels is 1 - soft_weight; the others are added to these two."""

    temperature: float = 2.0
    """Divides the logits of both networks: above 1, small probabilities count for more."""

    soft_weight: float = 0.5
    """Weight of the teacher's probabilities, 0 … 1; the rest is the labels'. A text without a label has the former."""

    hidden_weight: float = 0.0
    """Weight of the squared distance of hidden states, layer by layer (TinyBERT)."""

    attention_weight: float = 0.0
    """Weight of the squared distance of attention scores, layer by layer (TinyBERT)."""

    relation_weight: float = 0.0
    """Weight of the divergence of the last layer's attention and of its value relations (MiniLM)."""

    teacher_layers: tuple[int, ...] = ()
    """For each of the student's layers the teacher's that it is compared with, from 0. Empty: evenly spaced."""

    logits_folder: Path | None = None
    """Folder where the teacher's logits are kept, for another training by the same teacher. None: not kept."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"--distillation.temperature {self.temperature} must be above 0")
        if not 0 <= self.soft_weight <= 1:
            raise ValueError(f"--distillation.soft_weight {self.soft_weight} is outside 0 … 1")
        for name in ("hidden_weight", "attention_weight", "relation_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--distillation.{name} {getattr(self, name)} must not be negative")
        if min(self.teacher_layers, default=0) < 0:
            raise ValueError(
                f"--distillation.teacher_layers {' '.join(map(str, self.teacher_layers))}: layers are counted from 0"
            )

    @property
    def looks_inside(self) -> bool:
        """Whether a loss compares more than the logits: the teacher then runs at each step."""
        return max(self.hidden_weight, self.attention_weight, self.relation_weight) > 0


@dataclass(kw_only=True, frozen=True)
class MaskedLanguageConfig:
    """Distillation on plain texts before that on the task, with the triple loss of DistilBERT."""

    texts: Path | None = None
    """File with a text on each line, or a folder of .txt files. None: this stage is left out."""

    teacher: str | None = None
    """Encoder to learn from: minilm (built in), a folder, or an id on the hub. None: that of the classifier."""

    epochs: int = 1
    """Passes over the texts."""

    head_epochs: int = 1
    """Passes that train the teacher's word prediction first, where the checkpoint has none."""

    learning_rate: float = 5e-4
    """Peak learning rate."""

    masked_share: float = 0.15
    """Share of the words that are to be predicted."""

    whole_words: bool = True
    """Choose words with all their pieces; otherwise each piece by itself."""

    temperature: float = 2.0
    """Divides the logits of both networks."""

    distillation_weight: float = 5.0
    """Weight of the teacher's probabilities over the vocabulary."""

    masked_weight: float = 2.0
    """Weight of the words that were masked."""

    cosine_weight: float = 1.0
    """Weight of the angle between the last hidden states."""

    def __post_init__(self) -> None:
        for name in ("epochs", "head_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"--mlm.{name} {getattr(self, name)} must be at least 1")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--mlm.{name} {getattr(self, name)} must be above 0")
        if not 0 < self.masked_share < 1:
            raise ValueError(f"--mlm.masked_share {self.masked_share} must be above 0 and below 1")
        weights = [self.distillation_weight, self.masked_weight, self.cosine_weight]
        if not min(weights) >= 0 or not max(weights) > 0:
            raise ValueError(
                "--mlm.distillation_weight, --mlm.masked_weight and --mlm.cosine_weight must not be negative, and one "
                "of them above 0"
            )


Arm = Literal["distilled", "labels_only", "random_init", "random_init_labels_only"]


@dataclass(kw_only=True, frozen=True)
class ControlsConfig:
    """Students that show what distillation, and what the start from the teacher, is worth."""

    arms: tuple[Arm, ...] = ("distilled", "labels_only", "random_init")
    """Students that are trained with equal steps; `distilled` and `labels_only` are compared text by text."""

    seeds: int = 0
    """Seeds that each is trained with. 0: no controls are trained."""

    def __post_init__(self) -> None:
        if self.seeds < 0:
            raise ValueError(f"--controls.seeds {self.seeds} must not be negative")
        if not {"distilled", "labels_only"} <= set(self.arms) or len(set(self.arms)) != len(self.arms):
            raise ValueError("--controls.arms must name each student once, distilled and labels_only among them")
