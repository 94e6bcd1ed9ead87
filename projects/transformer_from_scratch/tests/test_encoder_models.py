"""Encoder, masked language model, classifier and encoder-decoder: what they may see, and that they learn."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.models import IGNORED, Classifier, Encoder, EncoderDecoder, MaskedLM

VOCAB = 17
POSITIONS = ("sinusoidal", "learned", "rotary", "alibi", "none")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config_of(**options) -> ModelConfig:
    return ModelConfig(n_layers=2, d_model=24, n_heads=4, d_hidden=40, context=16, **options)


def random_tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, VOCAB, shape)


def padded(tokens: torch.Tensor, n_left: int, n_right: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens with random ones around them, and which are real."""
    batch, n_tokens = tokens.shape
    wide = torch.cat((random_tokens(batch, n_left), tokens, random_tokens(batch, n_right)), dim=1)
    is_token = torch.zeros(wide.shape, dtype=torch.bool)
    is_token[:, n_left : n_left + n_tokens] = True
    return wide, is_token


def assert_equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_every_token_sees_every_token():
    encoder, tokens = Encoder(config_of(), VOCAB).double(), random_tokens(1, 7)
    output = encoder(tokens)
    for position in range(7):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCAB
        assert (encoder(changed) - output).abs().amax(dim=-1).min() > 1e-4


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("n_left", "n_right"), [(3, 0), (0, 3), (2, 4)])
def test_padding_on_either_side_changes_nothing(positions, n_left, n_right):
    config, tokens = config_of(positions=positions, bias=True), random_tokens(2, 6)
    wide, is_token = padded(tokens, n_left, n_right)
    real = slice(n_left, n_left + 6)

    encoder = Encoder(config, VOCAB).double()
    assert_equal(encoder(wide, is_token=is_token)[:, real], encoder(tokens))
    masked = MaskedLM(config, VOCAB).double()
    assert_equal(masked(wide, is_token=is_token)[:, real], masked(tokens))
    classifier = Classifier(config, VOCAB, 3).double()
    assert_equal(classifier(wide, is_token=is_token), classifier(tokens))


def test_attention_maps_of_an_encoder():
    encoder, maps = Encoder(config_of(), VOCAB), []
    wide, is_token = padded(random_tokens(1, 4), 2, 0)
    encoder(wide, is_token=is_token, attention_maps=maps)
    assert [tuple(weights.shape) for weights in maps] == [(1, 4, 6, 6)] * 2
    assert maps[0][..., :2].abs().max() == 0
    torch.testing.assert_close(maps[0][..., 2:].sum(dim=-1), torch.ones(1, 4, 6))


# --- masked language model ------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_masked_lm_head_is_that_of_bert(tied):
    model, tokens = MaskedLM(config_of(tie_embeddings=tied, bias=True), VOCAB), random_tokens(2, 7)
    for parameter in (*model.norm.parameters(), model.transform.bias):
        nn.init.normal_(parameter)
    hidden = F.gelu(model.encoder(tokens) @ model.transform.weight.T + model.transform.bias)
    embeddings = model.encoder.tokens
    table = embeddings.embedding.weight if embeddings.head is None else embeddings.head.weight
    assert (embeddings.head is None) == tied
    torch.testing.assert_close(model(tokens), model.norm(hidden) @ table.T)


def test_masked_lm_loss_counts_hidden_tokens_only():
    model, tokens = MaskedLM(config_of(), VOCAB).double(), random_tokens(2, 7)
    targets = torch.full_like(tokens, IGNORED)
    targets[0, 2], targets[1, 5] = 3, 11
    log_probabilities = model(tokens).log_softmax(dim=-1)
    expected = -(log_probabilities[0, 2, 3] + log_probabilities[1, 5, 11]) / 2
    assert_equal(model.loss(tokens, targets), expected)
    smooth = (log_probabilities[0, 2] + log_probabilities[1, 5]).mean() / 2
    assert_equal(model.loss(tokens, targets, label_smoothing=0.2), 0.8 * expected - 0.2 * smooth)


def test_masked_lm_adds_the_balancing_loss_in_training():
    config = config_of(n_experts=4, balancing_weight=0.5)
    model, tokens = MaskedLM(config, VOCAB).double().eval(), random_tokens(2, 7)
    quiet = model.loss(tokens, tokens).item()
    assert model.train().loss(tokens, tokens).item() - quiet > 0.5 * 2 * 0.9  # two blocks, each about 1


# --- classifier -----------------------------------------------------------------------------------


def test_classifier_averages_over_real_tokens():
    model, tokens = Classifier(config_of(), VOCAB, 3).double(), random_tokens(2, 6)
    is_token = torch.tensor([[True] * 6, [True, True, False, False, False, False]])
    hidden = model.encoder(tokens, is_token=is_token)
    means = torch.stack((hidden[0].mean(dim=0), hidden[1, :2].mean(dim=0)))
    assert_equal(model(tokens, is_token=is_token), means @ model.head.weight.T + model.head.bias)
    assert_equal(model(tokens), model.encoder(tokens).mean(dim=1) @ model.head.weight.T + model.head.bias)


def test_classifier_of_an_empty_text_answers_with_its_bias():
    model = Classifier(config_of(), VOCAB, 3)
    nn.init.normal_(model.head.bias)
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    assert torch.equal(model(random_tokens(1, 4), is_token=nothing)[0], model.head.bias)


def test_classifier_learns_whether_a_marker_occurs():
    """Marker 0 stands somewhere in half of the texts, and in much of the padding, where it must not count."""

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens, lengths = torch.randint(1, VOCAB, (n, 12)), torch.randint(4, 13, (n,))
        labels = torch.arange(n) % 2
        places = (torch.rand(n) * lengths).long()
        tokens[torch.arange(n), places] = tokens[torch.arange(n), places] * (1 - labels)
        is_token = torch.arange(12) < lengths[:, None]
        misleading = ~is_token & (torch.rand(n, 12) < 0.5)
        return tokens.masked_fill(misleading, 0), is_token, labels

    model = Classifier(ModelConfig(n_layers=1, d_model=16, n_heads=2, d_hidden=32, context=12), VOCAB, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        tokens, is_token, labels = draw(64)
        loss = F.cross_entropy(model(tokens, is_token=is_token), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens, is_token, labels = draw(1000)
    with torch.no_grad():
        accuracy = (model(tokens, is_token=is_token).argmax(dim=-1) == labels).double().mean()
    assert accuracy > 0.98


# --- encoder-decoder ------------------------------------------------------------------------------


@pytest.fixture(params=[{"positions": name} for name in POSITIONS] + [{"norm_position": "post"}], ids=str)
def translator(request) -> EncoderDecoder:
    return EncoderDecoder(config_of(bias=True, n_kv_heads=2, **request.param), VOCAB).double().eval()


def test_no_target_token_sees_a_later_one(translator):
    source, target = random_tokens(2, 5), random_tokens(2, 8)
    logits = translator(source, target)
    for position in (1, 4, 7):
        changed = target.clone()
        changed[:, position:] = (changed[:, position:] + 1) % VOCAB
        other = translator(source, changed)
        assert_equal(other[:, :position], logits[:, :position])
        assert (other - logits)[:, position:].abs().amax(dim=-1).min() > 1e-4


def test_every_target_token_sees_the_whole_source(translator):
    source, target = random_tokens(1, 5), random_tokens(1, 4)
    logits = translator(source, target)
    for position in range(5):
        changed = source.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCAB
        assert (translator(changed, target) - logits).abs().amax(dim=-1).min() > 1e-5


@pytest.mark.parametrize(("n_left", "n_right"), [(3, 0), (0, 3), (2, 4)])
def test_source_padding_changes_nothing(translator, n_left, n_right):
    source, target = random_tokens(2, 5), random_tokens(2, 4)
    wide, is_token = padded(source, n_left, n_right)
    assert_equal(translator(wide, target, is_token), translator(source, target))
    assert (translator(wide, target) - translator(source, target)).abs().max() > 1e-3  # unmasked padding is read


def test_target_padding_changes_nothing_before_it(translator):
    source, target = random_tokens(2, 5), random_tokens(2, 4)
    longer = torch.cat((target, random_tokens(2, 3)), dim=1)
    assert_equal(translator(source, longer)[:, :4], translator(source, target))


def test_source_and_target_share_one_table(translator):
    embeddings = [name for name, _ in translator.named_parameters() if "tokens." in name]
    assert embeddings == ["tokens.embedding.weight"]
    source, target = random_tokens(1, 5), random_tokens(1, 4)
    translator(source, target).sum().backward()
    assert all(parameter.grad is not None for parameter in translator.parameters())
