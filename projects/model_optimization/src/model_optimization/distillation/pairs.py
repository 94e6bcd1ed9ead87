"""Whether a teacher, a student and their texts belong together."""

from model_optimization.config.distillation import DistillationConfig
from model_optimization.distillation.inside import layer_map
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError

_PROBE = "It wasn't so bad, after all: 10/10 naïve fun!"
"""Letters, digits, an accent and marks, which tokenizers cut up differently."""


def check_pair(teacher: TorchClassifier, student: TorchClassifier, config: DistillationConfig) -> None:
    """Refuse two networks whose outputs cannot be compared.

    Logits are compared text by text, hidden states and attention token by token: these need the same tokens.

    Raises:
        UserError: other labels, or, where a loss looks inside, other tokens or another number of heads.
    """
    if teacher.labels != student.labels:
        raise UserError(
            f"the student's labels ({', '.join(student.labels)}) are not the teacher's ({', '.join(teacher.labels)}): "
            "give a student with the same ones in the same order, or an encoder without labels"
        )
    if not config.looks_inside:
        return
    if not same_tokens(teacher, student):
        raise UserError(
            "the student cuts texts into other tokens than the teacher, so that their layers cannot be compared: set "
            "--distillation.hidden_weight, --distillation.attention_weight and --distillation.relation_weight to 0"
        )
    layer_map(student.network, teacher.network, config.teacher_layers)
    if config.attention_weight or config.relation_weight:
        _check_heads(teacher, student)


def same_tokens(teacher: TorchClassifier, student: TorchClassifier) -> bool:
    """Whether both turn texts into the same numbers."""
    tokenizers = teacher.tokenizer, student.tokenizer
    vocabularies, probes = zip(*((one.get_vocab(), one(_PROBE)["input_ids"]) for one in tokenizers), strict=True)
    return vocabularies[0] == vocabularies[1] and probes[0] == probes[1] and teacher.max_length == student.max_length


def _check_heads(teacher: TorchClassifier, student: TorchClassifier) -> None:
    counts = sorted({layer.n_heads for one in (teacher, student) for layer in encoder_layers(one.network)})
    if len(counts) > 1:
        raise UserError(
            f"teacher and student have attention heads of different number ({', '.join(map(str, counts))}), which "
            "cannot be compared one by one: set --distillation.attention_weight and --distillation.relation_weight to 0"
        )
