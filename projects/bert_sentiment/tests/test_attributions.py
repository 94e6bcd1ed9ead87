"""Integrated gradients: exact where the integral is known, complete for every architecture."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from bert_sentiment.config import METHOD_NAMES, MethodConfig
from bert_sentiment.inference.attributions import integrated_gradients, leave_one_word_out, log_odds, path_integral
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.methods import apply_method

TinyModel = Callable[..., SentimentModel]
TEXT = "Not a <b>good</b> film, but I looooooved it!!"


def lively(model: SentimentModel, factor: float = 8) -> SentimentModel:
    """Larger random weights, so that scores are of the size that a trained model gives; in double precision, so that
    what is left of an error is the method's."""
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.dim() > 1:
                parameter *= factor
        list(model.network.parameters())[-2].mul_(8)  # the last layer
    model.network.double()
    return model


# The target


def test_log_odds_are_those_of_the_calibrated_probability() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [3.0, 3.0, 3.0]])
    p = (logits / 1.7).softmax(-1)
    for label in range(3):
        torch.testing.assert_close(log_odds(logits, label, 1.7), torch.logit(p[:, label]))
    torch.testing.assert_close(log_odds(logits + 5, 0, 1.7), log_odds(logits, 0, 1.7), rtol=0, atol=1e-5)


# The integral


def test_a_linear_function_gives_weight_times_difference() -> None:
    weight, x, baseline = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    scores = path_integral(lambda points: torch.einsum("mtc,tc->m", points, weight), x, baseline, steps=1)
    torch.testing.assert_close(scores, (weight * (x - baseline)).sum(-1))


def test_a_product_of_two_tokens_is_shared_equally() -> None:
    # f = x0 * x1 from 0 to (3, 5): each gets half of 15 (worked out by hand).
    x = torch.tensor([[3.0], [5.0]], dtype=torch.double)
    scores = path_integral(lambda points: points[:, 0, 0] * points[:, 1, 0], x, torch.zeros_like(x), steps=1)
    torch.testing.assert_close(scores, torch.tensor([7.5, 7.5], dtype=torch.double))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_rule_is_exact_up_to_its_degree_and_not_above(steps: int) -> None:
    # f = x^(n + 1) from 0 to 2 has a gradient of degree n along the path.
    x = torch.tensor([[2.0]], dtype=torch.double)
    for degree, is_exact in ((2 * steps - 1, True), (2 * steps, False)):
        score = path_integral(lambda points, n=degree: points[:, 0, 0] ** (n + 1), x, torch.zeros_like(x), steps)
        assert (abs(float(score) - 2 ** (degree + 1)) < 1e-9) == is_exact


def test_batches_of_points_change_nothing() -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.double)

    def f(points: torch.Tensor) -> torch.Tensor:
        return points.sin().prod(-1).sum(-1)

    for batch_size in (1, 3, 100):
        torch.testing.assert_close(
            path_integral(f, x, torch.zeros_like(x), 8, batch_size), path_integral(f, x, torch.zeros_like(x), 8)
        )


# On models


def test_scores_add_up_for_every_architecture(tiny_model: TinyModel, architecture: str) -> None:
    model = lively(tiny_model(architecture), factor=4)
    found = integrated_gradients(model, TEXT, "positive", steps=64)
    # DistilBERT's classification layer has a ReLU: f has kinks along the path, which no rule likes.
    assert abs(found.error) < (1e-3 if architecture == "distilbert" else 1e-7)
    assert max(abs(word.score or 0) for word in found.words) > 0.03, "there is something to add up"
    expected = log_odds(torch.from_numpy(model.logits([TEXT])), 2, 1.0)
    assert found.baseline is not None
    assert found.log_odds == pytest.approx(float(expected), abs=1e-4), "embeddings give what token ids give"


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_scores_add_up_for_every_fine_tuning_method(tiny_model: TinyModel, method: str, architecture: str) -> None:
    base = lively(tiny_model(architecture, max_length=40), factor=4)
    base.network.float()
    torch.manual_seed(1)
    model = apply_method(base, MethodConfig(name=method, n_virtual_tokens=4, rank=3, bottleneck=6))  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in model.network.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    model.network.double()
    found = integrated_gradients(model, TEXT, "positive", steps=64)
    assert abs(found.error) < 1e-7
    assert max(abs(word.score or 0) for word in found.words) > 0.02, "there is something to add up"
    expected = log_odds(torch.from_numpy(model.logits([TEXT])), 2, 1.0)
    assert found.log_odds == pytest.approx(float(expected), abs=1e-5), "what is explained is what is predicted"


def test_the_network_is_as_it_was_afterwards(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    before = model.logits([TEXT])
    embedding = model.network.get_input_embeddings()
    integrated_gradients(model, TEXT, steps=1)
    monkeypatch.setattr(type(model.network), "forward", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        integrated_gradients(model, TEXT, steps=1)
    monkeypatch.undo()
    assert not embedding._forward_hooks
    assert np.array_equal(model.logits([TEXT]), before)


def test_special_tokens_stay_in_the_baseline(tiny_model: TinyModel, architecture: str) -> None:
    model = lively(tiny_model(architecture), factor=4)
    inputs = torch.tensor([[2, *[0] * 5, 3]])  # [CLS], as much padding as there are tokens, [SEP]
    with torch.no_grad():
        embeddings = model.network.get_input_embeddings()(inputs)
        mask = torch.ones_like(inputs)
        logits = model.network(inputs_embeds=embeddings, attention_mask=mask).logits
    found = integrated_gradients(model, "good film , awful plot", "negative", steps=1)
    assert found.baseline == pytest.approx(float(log_odds(logits, 0, 1.0)), abs=1e-9)


def test_the_error_falls_with_the_steps(tiny_model: TinyModel) -> None:
    model = lively(tiny_model())
    errors = [abs(integrated_gradients(model, TEXT, "positive", steps=steps).error) for steps in (2, 8, 32)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_steps_are_doubled_until_the_sum_is_right(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively(tiny_model())
    assert integrated_gradients(model, TEXT).steps == 32
    monkeypatch.setattr("bert_sentiment.inference.attributions.STEPS", 1)
    monkeypatch.setattr("bert_sentiment.inference.attributions.TOLERANCE", 1e-3)
    found = integrated_gradients(model, TEXT)
    assert found.steps > 1
    assert abs(found.error) <= 1e-3
    assert abs(integrated_gradients(model, TEXT, steps=found.steps // 2).error) > 1e-3
    monkeypatch.setattr("bert_sentiment.inference.attributions.TOLERANCE", 0.0)
    monkeypatch.setattr("bert_sentiment.inference.attributions.MAX_STEPS", 4)
    assert integrated_gradients(model, TEXT).steps == 4


def test_scores_equal_an_integral_without_autograd(tiny_model: TinyModel) -> None:
    """The same integral by other means: differences of f a small step to both sides, and Simpson's rule."""
    model = replace(lively(tiny_model()), temperature=1.3)
    text = "good film , but never dull"
    ids = torch.tensor(model.tokenizer(text)["input_ids"])
    embed = next(model.network.get_input_embeddings().parameters()).detach()
    x = embed[ids]
    baseline = x.clone()
    baseline[1:-1] = embed[0]

    @torch.no_grad()
    def f(points: torch.Tensor) -> torch.Tensor:
        mask = torch.ones(points.shape[:2], dtype=torch.long)
        p = (model.network(inputs_embeds=points, attention_mask=mask).logits / 1.3).softmax(-1)[:, 1]
        return torch.log(p / (1 - p))

    n, h = 400, 1e-5
    weights = torch.tensor([1.0, *[4.0, 2.0] * (n // 2 - 1), 4.0, 1.0], dtype=torch.double) / (3 * n)
    path = baseline + torch.linspace(0, 1, n + 1, dtype=torch.double)[:, None, None] * (x - baseline)
    expected = []
    for token in range(1, len(ids) - 1):
        step = torch.zeros_like(x)
        step[token] = h * (x - baseline)[token]
        expected.append(float((weights * (f(path + step) - f(path - step)) / (2 * h)).sum()))
    found = integrated_gradients(model, text, "neutral", steps=64)
    assert [word.text for word in found.words] == text.split()
    assert [word.score for word in found.words] == pytest.approx(expected, abs=1e-5)


def test_the_most_probable_label_is_explained_and_the_mode_stays(tiny_model: TinyModel) -> None:
    model = lively(tiny_model())
    model.network.train()
    found = integrated_gradients(model, TEXT)
    assert found.label == model.labels[int(model.logits([TEXT]).argmax())]
    assert model.network.training
    assert all(parameter.grad is None for parameter in model.network.parameters())


def test_leaving_out_a_word_equals_the_text_without_it(tiny_model: TinyModel) -> None:
    model = lively(tiny_model())
    found = leave_one_word_out(model, "good film, awful plot", "positive", batch_size=2)

    def value(text: str) -> float:
        p = model.probabilities([text])[0, 2]
        return float(np.log(p / (1 - p)))

    shortened = ["film, awful plot", "good, awful plot", "good film awful plot", "good film, plot", "good film, awful"]
    assert [word.text for word in found.words] == ["good", "film", ",", "awful", "plot"]
    expected = [value("good film, awful plot") - value(text) for text in shortened]
    assert [word.score for word in found.words] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="only integrated gradients promise a sum"):
        _ = found.error


def test_both_methods_agree_on_a_model_that_adds_words_up(tiny_model: TinyModel) -> None:
    """A classifier without interactions: both methods must give each word what it adds."""
    model = tiny_model(labels=("no", "yes"))

    class Additive(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(200, 2)
            self.config, self.device = model.network.config, torch.device("cpu")

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.table

        def forward(
            self,
            attention_mask: torch.Tensor,
            input_ids: torch.Tensor | None = None,
            inputs_embeds: torch.Tensor | None = None,
        ) -> object:
            points = self.table(input_ids) if inputs_embeds is None else inputs_embeds
            logits = (points * attention_mask[..., None]).sum(1)
            return type("Output", (), {"logits": logits})

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Additive()
    with torch.no_grad():
        network.table.weight[0] = 0  # padding adds nothing, as a word that is not there
    additive = replace(model, network=network)  # type: ignore[arg-type]
    gradients = integrated_gradients(additive, "good film , awful plot", "yes")
    without = leave_one_word_out(additive, "good film , awful plot", "yes")
    for a, b in zip(gradients.words, without.words, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-5)
        token = model.tokenizer.convert_tokens_to_ids(a.text)
        no, yes = network.table.weight[token].tolist()
        assert a.score == pytest.approx(yes - no, abs=1e-5), "with two labels the log-odds are the logits' difference"
