"""Integrated gradients: exact where the integral is known, complete for every architecture, at home in the text."""

import html
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bert_sentiment.config import METHOD_NAMES, MethodConfig, PreprocessingConfig
from bert_sentiment.data.preprocessor import clean, token_ids
from bert_sentiment.inference.attributions import (
    Attribution,
    Word,
    integrated_gradients,
    leave_one_word_out,
    log_odds,
    path_integral,
)
from bert_sentiment.inference.rendering import _AGAINST, _FOR, to_html, to_terminal
from bert_sentiment.inference.words import align, clean_with_places
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.methods import apply_method
from roadmap_shared.errors import UserError

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


# Words and their places


def test_words_stand_where_they_stand_in_the_original(tiny_model: TinyModel) -> None:
    found = integrated_gradients(tiny_model(), TEXT, steps=1)
    assert [word.text for word in found.words] == [
        *("Not", "a", "good", "film", ",", "but", "I", "looooooved", "it", "!!"),
    ]
    assert all(TEXT[word.start : word.end] == word.text for word in found.words)
    text = "see https://t.co/x by @Anna_1: don&#39;t &amp; 好看"
    words = [word.text for word in integrated_gradients(tiny_model(), text, steps=1).words]
    assert words == ["see", "https://t.co/x", "by", "@Anna_1", ":", "don&#39;t", "&amp;", "好", "看"]


def test_words_that_are_cut_off_have_no_score(tiny_model: TinyModel) -> None:
    text = "good bad fine dull great awful bright phone film"
    seen = {
        "head": "good bad fine dull great awful",
        "tail": "dull great awful bright phone film",
        "head_tail": "good bad awful bright phone film",
    }
    for truncation, words in seen.items():
        model = tiny_model(max_length=8, truncation=truncation)
        for method in (integrated_gradients, leave_one_word_out):
            found = method(model, text)
            assert " ".join(word.text for word in found.words if word.score is not None) == words


SIGNS = [
    *"ab<>/&;#39ampltgx @:.!oO\n\u3000😀é好'-_",
    "http://",
    "&lt;",
    "&notit;",
    "&#x41;",
    "<br/>",
    "www.a",
    "@me",
    "oooo",
]
MESSY = st.lists(st.sampled_from(SIGNS), max_size=20).map("".join)
CONFIGS = st.builds(
    PreprocessingConfig,
    html=st.booleans(),
    urls=st.sampled_from(["keep", "token"]),
    mentions=st.sampled_from(["keep", "token"]),
    elongation=st.booleans(),
    max_length=st.integers(8, 20),
    truncation=st.sampled_from(["head", "tail", "head_tail"]),
)


@settings(max_examples=300, deadline=None)
@given(text=MESSY, config=CONFIGS)
def test_cleaning_with_places_gives_the_cleaned_text(text: str, config: PreprocessingConfig) -> None:
    cleaned, places = clean_with_places(text, config)
    assert cleaned == clean(text, config)
    assert len(places) == len(cleaned)
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(places))
    for character, place in zip(cleaned, places, strict=True):
        assert 0 <= place.start < place.end <= len(text)
        if place.end - place.start == 1 and not character.isspace():
            assert text[place.start] == character


def byte_level() -> PreTrainedTokenizerFast:
    """Tokens are bytes, as in RoBERTa for signs that it does not know: several tokens a character."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: index for index, sign in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", model_max_length=512)


def metaspace() -> PreTrainedTokenizerFast:
    """Tokens begin with the blank before them, as in ALBERT."""
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((sign, -3.0) for sign in "abcdefghijklmnopqrstuvwxyz!")]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁a", -2.5), ("▁go", -2.5)], unk_id=1, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=99
    )


@pytest.mark.parametrize("make", [byte_level, metaspace])
def test_every_token_belongs_to_the_word_it_writes(make: Callable[[], PreTrainedTokenizerFast]) -> None:
    text, tokenizer = "a good day! 😀 go", make()
    found = align(text, tokenizer, PreprocessingConfig())
    assert [text[word.start : word.end] for word in found.words] == ["a", "good", "day", "!", "😀", "go"]
    spelled: dict[int | None, str] = {}
    for token, word in zip(found.token_ids, found.word_of_token, strict=True):
        spelled[word] = spelled.get(word, "") + str(tokenizer.convert_ids_to_tokens(token))
    if make is metaspace:
        assert spelled == {0: "▁a", 1: "▁good", 2: "▁day", 3: "!", 4: "▁<unk>", 5: "▁go"}
    else:
        assert [len(spelled[index]) for index in range(6)] == [1, 5, 4, 1, 5, 3], "bytes, the blank before included"


@settings(max_examples=150, deadline=None)
@given(text=MESSY, config=CONFIGS, make=st.sampled_from([byte_level, metaspace]))
def test_tokens_are_those_of_the_prediction(
    text: str, config: PreprocessingConfig, make: Callable[[], PreTrainedTokenizerFast]
) -> None:
    tokenizer = make()
    found = align(text, tokenizer, config)
    assert found.token_ids == token_ids([text], tokenizer, config)[0]
    assert all(word is not None and 0 <= word < len(found.words) for word in found.word_of_token)
    assert all(a.end <= b.start for a, b in pairwise(found.words))


def test_a_slow_tokenizer_is_refused(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    with pytest.raises(UserError) as caught:
        integrated_gradients(model, "good")
    assert str(caught.value) == (
        "words can be marked only for a model with a fast tokenizer (tokenizer.json in its folder)"
    )


# Rendering

RENDERED = Attribution(
    text="I <loved>  it, not\x1b[2J\n",
    label="positive",
    words=(
        Word("I", 0, 1, 0.0),
        Word("<loved>", 2, 9, 1.314),
        Word("it", 11, 13, None),
        Word("not", 15, 18, -0.667),
    ),
    log_odds=1.0,
)


def test_plain_text_shows_signs() -> None:
    assert to_terminal(Attribution("a", "x", (Word("a", 0, 1, 0.004),), 0.0), colour=False) == "a"
    assert to_terminal(RENDERED, colour=False) == "I <loved>(+1.31)  it, not(-0.67)�[2J\n"


def test_colours_go_to_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = f"I \033[30;48;5;{_FOR[3]}m<loved>\033[0m  it, \033[4;30;48;5;{_AGAINST[2]}mnot\033[0m�[2J\n"
    plain = to_terminal(RENDERED, colour=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert to_terminal(RENDERED) == plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert to_terminal(RENDERED) == coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert to_terminal(RENDERED) == plain
    monkeypatch.setenv("NO_COLOR", "")
    assert to_terminal(RENDERED) == coloured


def test_html_is_escaped_and_shows_scores() -> None:
    page = to_html(RENDERED)
    blue = "background:rgba(31,119,220,0.45);border-radius:.2em"
    orange = "background:rgba(230,120,0,0.23);border-radius:.2em;text-decoration:underline dotted"
    assert page == (
        '<p class="attribution" dir="auto" style="white-space:pre-wrap;line-height:1.7">'
        f'I <span style="{blue}" title="+1.31">&lt;loved&gt;</span>  it, '
        f'<span style="{orange}" title="-0.67">not</span>\x1b[2J\n</p>'
    )


@settings(max_examples=50)
@given(text=st.text(max_size=30), score=st.floats(-3, 3))
def test_html_shows_the_text_whatever_it_is(text: str, score: float) -> None:
    words = (Word(text[1:3], 1, 3, score),) if len(text) >= 3 else ()
    page = to_html(Attribution(text, "x", words, 0.0))
    assert html.unescape(re.sub(r"</?(?:span|p)\b[^>]*>", "", page)) == text


def luminance(rgb: tuple[float, ...]) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_colours_can_be_read() -> None:
    for code in (*_FOR, *_AGAINST):
        red, green, blue = (code - 16) // 36, (code - 16) // 6 % 6, (code - 16) % 6
        rgb = tuple(0 if level == 0 else 55 + 40 * level for level in (red, green, blue))
        assert contrast(rgb, (0, 0, 0)) >= 7
    for ink, page in (((51, 51, 51), (255, 255, 255)), ((230, 230, 230), (17, 24, 39))):
        for red, green, blue, alpha in re.findall(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", to_html(RENDERED)):
            mark = [float(value) * 0.45 + below * 0.55 for value, below in zip((red, green, blue), page, strict=True)]
            assert contrast(tuple(mark), ink) >= 4.5, (ink, alpha)
