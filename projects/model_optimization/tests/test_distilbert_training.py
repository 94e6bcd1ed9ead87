from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

from model_optimization.config.distillation import MaskedLanguageConfig
from model_optimization.config.trainer import TrainerConfig
from model_optimization.distillation.distilbert_training import (
    MaskedBatch,
    cosine_loss,
    distil_on_texts,
    frozen,
    general_teacher,
    hidden_words,
    masked_word_loss,
    triple_loss,
)
from model_optimization.distillation.masked_language import (
    MaskedLanguageModel,
    checkpoint_head,
    encoder_of,
    untrained_head,
)
from model_optimization.distillation.students import student_of
from model_optimization.distillation.teacher_student import soft_target_loss
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import Batch, batches
from roadmap_shared.errors import UserError
from roadmap_shared.offline import minilm_folder

from .tiny_models import SPECIAL, TEXTS, tiny_classifier, tiny_tokenizer

TRAINER = TrainerConfig(batch_size=4)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_batch(config: MaskedLanguageConfig = MaskedLanguageConfig()) -> tuple[Batch, MaskedBatch]:  # noqa: B008
    data, draw = hidden_words(tiny_classifier(), TEXTS, config, seed=0)
    batch = next(batches(data, len(TEXTS), np.random.default_rng(0)))
    return batch, draw(batch)


def test_masked_words_equal_torchs_cross_entropy():
    logits, targets = random(6, 9), torch.tensor([0, 8, 3, 3, 1, 7])
    torch.testing.assert_close(masked_word_loss(logits, targets), F.cross_entropy(logits, targets))
    assert torch.autograd.gradcheck(lambda own: masked_word_loss(own, targets), logits.requires_grad_())


def test_the_cosine_equals_torchs_on_real_tokens():
    student, teacher = random(2, 4, 5), random(2, 4, 5, seed=1)
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.float64)
    chosen = mask == 1
    expected = F.cosine_embedding_loss(student[chosen], teacher[chosen], torch.ones(5))
    torch.testing.assert_close(cosine_loss(student, teacher, mask), expected)
    torch.testing.assert_close(cosine_loss(3 * teacher, teacher, mask), torch.zeros((), dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda own: cosine_loss(own, teacher, mask), student.requires_grad_())


def test_the_sum_of_three():
    _, masked = one_batch()
    n_words, shape = len(masked.targets), masked.inputs["input_ids"].shape
    student = random(n_words, 40), random(*shape, 6)
    teacher = random(n_words, 40, seed=1), random(*shape, 6, seed=1)
    config = MaskedLanguageConfig(temperature=3.0, distillation_weight=0.5, masked_weight=0.25, cosine_weight=4.0)
    expected = (
        0.5 * soft_target_loss(student[0], teacher[0], 3.0).mean()
        + 0.25 * F.cross_entropy(student[0], masked.targets)
        + 4.0 * cosine_loss(student[1], teacher[1], masked.inputs["attention_mask"].double())
    )
    torch.testing.assert_close(triple_loss(student, teacher, masked, config), expected)


def test_hidden_words_know_what_they_were():
    batch, masked = one_batch(MaskedLanguageConfig(masked_share=0.5))
    assert torch.equal(batch.inputs["input_ids"][masked.chosen], masked.targets)
    assert torch.equal(batch.inputs["input_ids"][~masked.chosen], masked.inputs["input_ids"][~masked.chosen])
    assert not (batch.inputs["input_ids"] == SPECIAL.index("[MASK]")).any()
    assert (masked.inputs["input_ids"] == SPECIAL.index("[MASK]")).any()
    assert not masked.chosen[batch.inputs["attention_mask"] == 0].any()


def test_a_batch_always_has_a_word_to_guess():
    data, draw = hidden_words(tiny_classifier(), ["good"], MaskedLanguageConfig(masked_share=1e-6), seed=0)
    masked = draw(next(batches(data, 1, np.random.default_rng(0))))
    assert masked.chosen.tolist() == [[False, True, False]]


def test_texts_without_a_word_are_left_out():
    data, draw = hidden_words(tiny_classifier(), ["", "good film", "\u200b"], MaskedLanguageConfig(), seed=0)
    assert len(data.sequences) == 1
    assert draw(next(batches(data, 4, np.random.default_rng(0)))).chosen.shape == (1, 4)
    with pytest.raises(UserError) as caught:
        hidden_words(tiny_classifier(), ["", "\u200b"], MaskedLanguageConfig(), seed=0)
    assert str(caught.value) == (
        "there is no plain text to distil on: give --mlm.texts a file with a text on each line"
    )


def saved_masked_model(folder: Path) -> BertForMaskedLM:
    config = BertConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    model = BertForMaskedLM(config).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.cls.predictions.decoder.bias = model.cls.predictions.bias
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


def test_a_checkpoints_word_prediction_is_used_as_it_is(tmp_path: Path):
    model = saved_masked_model(tmp_path)
    head = checkpoint_head(str(tmp_path))
    assert head is not None
    ids = torch.tensor([[2, 7, 9, 3]])
    chosen = torch.tensor([[False, True, True, False]])
    with torch.no_grad():
        logits, states = MaskedLanguageModel(model.bert, head)({"input_ids": ids}, chosen)
        expected = model(ids, output_hidden_states=True)
    torch.testing.assert_close(logits, expected.logits[chosen])
    torch.testing.assert_close(states, expected.hidden_states[-1])


def test_an_encoder_or_a_classifier_has_no_word_prediction(tmp_path: Path):
    classifier = tiny_classifier(tmp_path / "classifier")
    assert checkpoint_head(str(tmp_path / "classifier")) is None
    assert isinstance(classifier.network.bert, BertModel)
    classifier.network.bert.save_pretrained(tmp_path / "encoder")
    assert checkpoint_head(str(tmp_path / "encoder")) is None


def test_a_teacher_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(UserError, match=rf"^--mlm\.teacher {tmp_path}: is no masked language model: "):
        checkpoint_head(str(tmp_path))


def test_a_word_prediction_that_is_new_is_tied_to_the_embeddings():
    encoder = encoder_of(tiny_classifier().network)
    model = MaskedLanguageModel(encoder, untrained_head(encoder, seed=0))
    names = {name for name, _ in model.named_parameters() if name.startswith("head.")}
    assert names == {"head.dense.weight", "head.dense.bias", "head.norm.weight", "head.norm.bias", "head.bias"}
    inputs = {"input_ids": torch.tensor([[2, 7, 9, 3]])}
    chosen = torch.tensor([[False, True, False, False]])
    logits, states = model(inputs, chosen)
    embeddings = encoder.get_input_embeddings().weight
    assert isinstance(embeddings, Tensor)
    expected = model.head.norm(F.gelu(model.head.dense(states[0, 1:2]))) @ embeddings.T + model.head.bias
    torch.testing.assert_close(logits, expected)


def test_the_student_guesses_as_the_teacher_does(capsys: pytest.CaptureFixture[str]):
    teacher = tiny_classifier(layers=4)
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    student = student_of(teacher, initialisation="random")
    head = student.network.classifier.weight.clone()
    config = MaskedLanguageConfig(epochs=12, learning_rate=3e-3)
    result = distil_on_texts(encoder_of(teacher.network), student, TEXTS * 4, config, TRAINER, seed=0)
    assert result.losses[-1] < 0.7 * result.losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.network.state_dict().items())
    assert all(parameter.requires_grad for parameter in teacher.network.parameters())
    assert torch.equal(student.network.classifier.weight, head)
    assert not any("head" in name for name in student.network.state_dict())
    assert capsys.readouterr().out == (
        "the teacher has no word prediction: one that is tied to its embeddings is trained first\n"
    )


def test_a_frozen_encoder_runs_without_dropout():
    teacher = tiny_classifier(layers=1)
    model = MaskedLanguageModel(encoder_of(teacher.network), untrained_head(encoder_of(teacher.network), seed=0))
    teacher.network.classifier.requires_grad_(False)
    with frozen(teacher.network):
        assert not model.train().encoder.training
        assert model.head.training
    assert model.train().encoder.training
    kept = {name for name, parameter in teacher.network.named_parameters() if not parameter.requires_grad}
    assert kept == {"classifier.weight", "classifier.bias"}  # what was frozen before stays so


def test_a_teacher_with_a_word_prediction_teaches_a_narrower_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model = saved_masked_model(tmp_path)
    student = tiny_classifier(layers=1, hidden=8, heads=2)
    config = MaskedLanguageConfig(epochs=2, cosine_weight=0.0)
    arguments = {"seed": 0, "head": checkpoint_head(str(tmp_path))}
    result = distil_on_texts(model.bert, student, TEXTS, config, TRAINER, **arguments)
    assert result.steps == 4
    assert not capsys.readouterr().out
    with pytest.raises(UserError) as caught:
        distil_on_texts(model.bert, student, TEXTS, replace(config, cosine_weight=1.0), TRAINER, **arguments)
    assert str(caught.value) == (
        "the student's states are 8 wide and the teacher's 16, so that there is no angle between them: set "
        "--mlm.cosine_weight to 0"
    )


def test_the_built_in_encoder_has_no_word_prediction():
    source = minilm_folder()
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2)
    network = BertForSequenceClassification(config)
    student = TorchClassifier(network, AutoTokenizer.from_pretrained(source), 32)
    encoder, head = general_teacher("minilm", student, seed=0)
    assert head is None
    assert encoder.config.hidden_size == 384
    assert isinstance(encoder, BertModel)


def test_a_classifier_is_no_general_teacher(tmp_path: Path):
    student = tiny_classifier(tmp_path)
    with pytest.raises(UserError) as caught:
        general_teacher(str(tmp_path), student, seed=0)
    assert str(caught.value) == (
        f"--mlm.teacher {tmp_path}: is a classifier: give an encoder, or leave the flag out to learn words from the "
        "encoder of --model.path"
    )


def test_another_vocabulary_is_refused():
    other = BertModel(BertConfig(vocab_size=7, hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(UserError) as caught:
        distil_on_texts(other, tiny_classifier(), TEXTS, MaskedLanguageConfig(), TRAINER, seed=0)
    assert str(caught.value) == (
        f"the student has {len(tiny_tokenizer())} tokens and the teacher 7, so that they cannot be compared word by "
        "word: leave --mlm.texts out, or use a teacher with the student's tokenizer"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--mlm.epochs 0 must be at least 1"),
        ({"temperature": -1.0}, "--mlm.temperature -1.0 must be above 0"),
        ({"masked_share": 1.0}, "--mlm.masked_share 1.0 must be above 0 and below 1"),
        (
            {"distillation_weight": 0.0, "masked_weight": 0.0, "cosine_weight": 0.0},
            "--mlm.distillation_weight, --mlm.masked_weight and --mlm.cosine_weight must not be negative, and one of "
            "them above 0",
        ),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str):
    with pytest.raises(ValueError) as caught:
        MaskedLanguageConfig(**settings)
    assert str(caught.value) == message
