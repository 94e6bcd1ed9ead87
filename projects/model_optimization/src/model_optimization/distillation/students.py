"""Students: small networks that start with parts of their teacher."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from model_optimization.config.distillation import StudentConfig
from model_optimization.config.model import ModelConfig
from model_optimization.model import untrained_classifier
from model_optimization.pretrained import is_classifier, read_config
from model_optimization.pruning.encoder_layers import EncoderLayer, encoder_layers
from model_optimization.pruning.layer_pruning import cut_layers
from model_optimization.pruning.structured_pruning import cut_neurons
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError


def build_student(teacher: TorchClassifier, config: StudentConfig, *, seed: int) -> TorchClassifier:
    """The student that the settings describe.

    Raises:
        UserError: layers or neurons that the teacher has not, or a folder that holds no encoder.
    """
    if config.path is not None:
        student = _given(config, teacher, seed)
    else:
        student = student_of(
            teacher, config.layers or None, ffn=config.ffn, initialisation=config.initialisation, seed=seed
        )
    student.network.base_model.get_submodule("embeddings").requires_grad_(not config.frozen_embeddings)
    return student


def student_of(
    teacher: TorchClassifier,
    layers: Sequence[int] | None = None,
    *,
    ffn: int | None = None,
    initialisation: str = "teacher",
    seed: int = 0,
) -> TorchClassifier:
    """A copy of the teacher with some of its layers, and the neurons that weigh most in each feed-forward block.

    Args:
        teacher: left as it is.
        layers: from 0, in the student's order. None: every second one.
        ffn: neurons of a block. None: all.
        initialisation: `teacher` keeps its weights, `embeddings` those of the embeddings, `random` none.
        seed: of random weights.

    Raises:
        UserError: layers or neurons that the teacher has not, or an architecture whose layers are not known.
    """
    there = encoder_layers(teacher.network)
    layers = every_second(len(there)) if layers is None else tuple(layers)
    if not layers or len(set(layers)) != len(layers) or not set(layers) <= set(range(len(there))):
        raise UserError(
            f"--student.layers {' '.join(map(str, layers))}: the teacher has the layers 0 to {len(there) - 1}; name "
            "each once"
        )
    student = cut_layers(teacher, layers)
    if ffn is not None:
        fewest = min(there[layer].n_neurons for layer in layers)
        if not 1 <= ffn <= fewest:
            raise UserError(f"--student.ffn {ffn}: the teacher's feed-forward blocks have {fewest} neurons")
        student = cut_neurons(student, [far_reaching(layer, ffn) for layer in encoder_layers(student.network)])
    if initialisation != "teacher":
        student.network = drawn_anew(student.network, seed, embeddings=initialisation == "embeddings")
    return student


def every_second(n_layers: int) -> tuple[int, ...]:
    """Every second layer counted from the last, which the classification layer has learned to read: 6 -> 1, 3, 5.

    Sanh et al. 2019, "DistilBERT", §3: "we initialize the student from the teacher by taking one layer out of two".
    """
    return tuple(range(n_layers - 1, -1, -2))[::-1]


def far_reaching(layer: EncoderLayer, neurons: int) -> NDArray[np.int64]:
    """The neurons of a feed-forward block that can move its output most, ascending.

    A neuron adds gelu(w_in · x + b) · w_out to the output; what it can add grows with |w_in| · |w_out|. That needs no
    texts, and distillation mends what is lost.

    Args:
        layer: H wide with F neurons: w_in of (F, H), w_out of (H, F).
        neurons: how many.

    Returns:
        (neurons,) indices below F.
    """
    reach = layer.ffn_in.weight.detach().norm(dim=1) * layer.ffn_out.weight.detach().norm(dim=0)  # (F,)
    return reach.topk(neurons).indices.sort().values.numpy()


def drawn_anew(network: PreTrainedModel, seed: int, *, embeddings: bool) -> PreTrainedModel:
    """A network of the same shape with random weights, all but, where asked, those of the embeddings."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = type(network)(copy.deepcopy(network.config))
    if embeddings:
        fresh.base_model.get_submodule("embeddings").load_state_dict(
            network.base_model.get_submodule("embeddings").state_dict()
        )
    return fresh.eval()


def _given(config: StudentConfig, teacher: TorchClassifier, seed: int) -> TorchClassifier:
    path = config.path
    assert path is not None
    if not (path / "config.json").is_file():
        raise UserError(f"--student.path {path}: is no model folder (no config.json in it)")
    if is_classifier(read_config(str(path))):
        return TorchClassifier.load(path, teacher.max_length)
    return untrained_classifier(ModelConfig(name=str(path), max_length=teacher.max_length), teacher.labels, seed)
