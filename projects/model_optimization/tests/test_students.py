from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from model_optimization.config.distillation import StudentConfig
from model_optimization.distillation.students import build_student, every_second, far_reaching, student_of
from model_optimization.pruning.encoder_layers import encoder_layers
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError

from .tiny_models import SPECIAL, TEXTS, WORDS, tiny_classifier, tiny_tokenizer


def weights(classifier: TorchClassifier) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}


def test_every_second_layer_ends_with_the_last():
    assert [every_second(n) for n in (1, 2, 3, 6, 12)] == [
        (0,),
        (1,),
        (0, 2),
        (1, 3, 5),
        (1, 3, 5, 7, 9, 11),
    ]


def test_a_student_computes_with_the_teachers_layers():
    teacher = tiny_classifier(layers=4)
    before = weights(teacher)
    student = student_of(teacher)
    bert = teacher.network.bert
    ids = torch.tensor([teacher.token_ids(TEXTS[:1])[0]])
    with torch.no_grad():
        states = bert.embeddings(ids)
        for number in (1, 3):
            states = bert.encoder.layer[number](states)
        expected = teacher.network.classifier(bert.pooler(states))
    np.testing.assert_allclose(student.logits(TEXTS[:1]), expected.numpy(), rtol=1e-5, atol=1e-6)
    assert student.network.config.num_hidden_layers == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())
    shared = {tensor.data_ptr() for tensor in student.network.parameters()}
    assert not shared & {tensor.data_ptr() for tensor in teacher.network.parameters()}


def test_neurons_that_reach_far_are_kept():
    layer = encoder_layers(tiny_classifier(layers=1, hidden=8, heads=2, ffn=16).network)[0]
    reach = [
        float(np.linalg.norm(layer.ffn_in.weight.detach()[n]) * np.linalg.norm(layer.ffn_out.weight.detach()[:, n]))
        for n in range(16)
    ]
    expected = sorted(sorted(range(16), key=lambda n: -reach[n])[:5])
    assert far_reaching(layer, 5).tolist() == expected


def test_neurons_that_do_nothing_are_not_missed():
    teacher = tiny_classifier(layers=2, ffn=64)
    for layer in encoder_layers(teacher.network):
        with torch.no_grad():
            layer.ffn_out.weight[:, ::2] = 0
    student = student_of(teacher, (0, 1), ffn=32)
    assert student.network.config.intermediate_size == 32
    assert [layer.n_neurons for layer in encoder_layers(student.network)] == [32, 32]
    np.testing.assert_allclose(student.logits(TEXTS), teacher.logits(TEXTS), rtol=1e-4, atol=1e-5)


def test_a_student_is_read_again_as_a_plain_bert(tmp_path: Path):
    student = student_of(tiny_classifier(layers=4), (3, 0), ffn=24)
    student.save(tmp_path)
    again = TorchClassifier.load(tmp_path, student.max_length)
    assert again.network.config.model_type == "bert"
    assert np.array_equal(again.logits(TEXTS), student.logits(TEXTS))


def test_random_students_take_over_what_is_asked():
    teacher = tiny_classifier(layers=2)
    own = teacher.network.bert.embeddings.word_embeddings.weight
    torch.manual_seed(3)
    expected_draw = torch.rand(1)
    torch.manual_seed(3)
    fresh = student_of(teacher, initialisation="random", seed=1)
    assert torch.equal(torch.rand(1), expected_draw)  # the caller's own random numbers go on undisturbed
    half = student_of(teacher, initialisation="embeddings", seed=1)
    assert torch.equal(half.network.bert.embeddings.word_embeddings.weight, own)
    assert not torch.equal(fresh.network.bert.embeddings.word_embeddings.weight, own)
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(weights(fresh)[name], weights(student_of(teacher, initialisation="random", seed=1))[name])
    assert not torch.equal(weights(fresh)[name], weights(student_of(teacher, initialisation="random", seed=2))[name])
    assert not torch.equal(weights(half)[name], weights(student_of(teacher))[name])
    assert {key: value.shape for key, value in weights(fresh).items()} == {
        key: value.shape for key, value in weights(student_of(teacher)).items()
    }


def test_frozen_embeddings_are_no_parameters_to_train():
    teacher = tiny_classifier(layers=2)
    student = build_student(teacher, StudentConfig(frozen_embeddings=True), seed=0)
    kept = [name for name, parameter in student.network.named_parameters() if not parameter.requires_grad]
    assert kept == [name for name, _ in student.network.named_parameters() if ".embeddings." in name]
    assert all(parameter.requires_grad for parameter in teacher.network.parameters())


def test_a_student_of_distilberts_form():
    size = len(SPECIAL) + len(WORDS)
    config = DistilBertConfig(vocab_size=size, dim=16, n_layers=4, n_heads=2, hidden_dim=32, max_position_embeddings=64)
    teacher = TorchClassifier(DistilBertForSequenceClassification(config), tiny_tokenizer(), 64)
    student = student_of(teacher, ffn=8)
    assert (student.network.config.n_layers, student.network.config.hidden_dim) == (2, 8)
    assert student.logits(TEXTS).shape == (len(TEXTS), 2)


def test_a_classifier_or_an_encoder_can_be_given(tmp_path: Path):
    teacher = tiny_classifier(layers=2)
    small = tiny_classifier(tmp_path / "classifier", layers=1)
    given = build_student(teacher, StudentConfig(path=tmp_path / "classifier"), seed=0)
    assert np.array_equal(given.logits(TEXTS), small.logits(TEXTS))
    encoder = small.network.bert
    assert isinstance(encoder, BertModel)
    encoder.save_pretrained(tmp_path / "encoder")
    small.tokenizer.save_pretrained(tmp_path / "encoder")
    started = build_student(teacher, StudentConfig(path=tmp_path / "encoder"), seed=0)
    assert started.labels == teacher.labels
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(weights(started)[name], weights(small)[name])


@pytest.mark.parametrize("layers", [(2,), (0, 0), (-1,)])
def test_layers_that_the_teacher_has_not(layers: tuple[int, ...]):
    with pytest.raises(UserError) as caught:
        student_of(tiny_classifier(layers=2), layers)
    named = " ".join(map(str, layers))
    assert str(caught.value) == f"--student.layers {named}: the teacher has the layers 0 to 1; name each once"


def test_neurons_that_the_teacher_has_not():
    with pytest.raises(UserError) as caught:
        student_of(tiny_classifier(ffn=64), ffn=65)
    assert str(caught.value) == "--student.ffn 65: the teacher's feed-forward blocks have 64 neurons"


def test_an_architecture_that_is_not_known():
    config = GPT2Config(vocab_size=40, n_embd=8, n_layer=2, n_head=2, pad_token_id=0)
    teacher = TorchClassifier(GPT2ForSequenceClassification(config), tiny_tokenizer(), 64)
    with pytest.raises(UserError, match=r"^a model of type gpt2 cannot be pruned: its layers are not known"):
        student_of(teacher)


def test_a_folder_that_is_no_model(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        build_student(tiny_classifier(), StudentConfig(path=tmp_path), seed=0)
    assert str(caught.value) == f"--student.path {tmp_path}: is no model folder (no config.json in it)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"path": Path("x"), "ffn": 8},
            "--student.path x is a student already: --student.layers, --student.ffn and --student.initialisation do "
            "not go with it",
        ),
        ({"layers": (1, 1)}, "--student.layers 1 1: each layer once, counted from 0"),
        ({"ffn": 0}, "--student.ffn 0 must be at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str):
    with pytest.raises(ValueError) as caught:
        StudentConfig(**settings)
    assert str(caught.value) == message
