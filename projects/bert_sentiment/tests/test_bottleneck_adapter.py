from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bert_sentiment.config import MethodConfig
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.bottleneck_adapter import Adapted, BottleneckAdapter, adapter_parameters, insert_adapters
from bert_sentiment.models.methods import apply_method

TEXTS = ["the film was good !", "bad plot", "i really loved this phone and it is great"]


@given(
    width=st.integers(2, 24),
    bottleneck=st.integers(1, 12),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_untrained_adapter_is_the_identity(width: int, bottleneck: int, shape: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(*shape, width)
    assert torch.equal(BottleneckAdapter(width, bottleneck)(x), x)


@given(width=st.integers(2, 24), bottleneck=st.integers(1, 12))
def test_number_of_parameters(width: int, bottleneck: int) -> None:
    adapter = BottleneckAdapter(width, bottleneck)
    counted = sum(weight.numel() for weight in adapter.parameters())
    assert counted == 2 * width * bottleneck + bottleneck + width


def test_values_by_hand() -> None:
    adapter = BottleneckAdapter(2, 1)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 2.0]]))
        adapter.down.bias.fill_(-1.0)
        adapter.up.weight.copy_(torch.tensor([[3.0], [-1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.5, 0.0]))
    # down: 1·1 + 2·0.5 − 1 = 1; gelu(1) = Φ(1) = 0.841345; up: 3·0.841345 + 0.5 = 3.024034 and −0.841345
    expected = torch.tensor([[1 + 3.024034, 0.5 - 0.841345]])
    torch.testing.assert_close(adapter(torch.tensor([[1.0, 0.5]])), expected, atol=1e-5, rtol=0)


def test_adapter_stands_behind_its_host() -> None:
    host, adapter = nn.Linear(3, 4), BottleneckAdapter(4, 2)
    nn.init.normal_(adapter.up.weight)
    x = torch.randn(5, 3)
    torch.testing.assert_close(Adapted(host, adapter)(x), adapter(host(x)), atol=0, rtol=0)


HOSTS = {
    "bert": ["attention.output.dropout", "output.dropout"],
    "roberta": ["attention.output.dropout", "output.dropout"],
    "distilbert": ["attention.out_lin", "ffn.dropout"],
    "albert": ["attention.output_dropout", "ffn_output"],
    "modernbert": ["attn.out_drop", "mlp.Wo"],
}
LAYER = {
    "bert": "bert.encoder.layer.{}.",
    "roberta": "roberta.encoder.layer.{}.",
    "distilbert": "distilbert.transformer.layer.{}.",
    "albert": "albert.encoder.albert_layer_groups.{}.albert_layers.0.",
    "modernbert": "model.layers.{}.",
}


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_adapters_stand_in_every_layer(
    tiny_model: Callable[..., SentimentModel], architecture: str, placement: str
) -> None:
    config = MethodConfig(name="adapter", bottleneck=4, placement=placement)  # type: ignore[arg-type]
    network = apply_method(tiny_model(architecture, max_length=32), config).network
    found = [name for name, module in network.named_modules() if isinstance(module, Adapted)]
    ends = HOSTS[architecture] if placement == "houlsby" else HOSTS[architecture][1:]
    n_layers = 1 if architecture == "albert" else 2
    assert sorted(found) == sorted(LAYER[architecture].format(i) + end for i in range(n_layers) for end in ends)


def test_adapter_output_joins_the_residual_stream(tiny_model: Callable[..., SentimentModel], architecture: str) -> None:
    """With the constant v from each adapter, every sublayer's result is v higher: the same as v on the bias of its
    output projection."""
    model, expected = tiny_model(architecture, max_length=32), tiny_model(architecture, max_length=32)
    torch.manual_seed(0)
    v = torch.randn(32)
    adapted = apply_method(model, MethodConfig(name="adapter", bottleneck=4))
    with torch.no_grad():
        for module in adapted.network.modules():
            if isinstance(module, BottleneckAdapter):
                module.up.bias.copy_(v)
        for projection in output_projections(expected.network, architecture):
            bias = torch.zeros(32) if projection.bias is None else projection.bias
            projection.bias = nn.Parameter(bias + v)
    base = tiny_model(architecture, max_length=32)
    assert np.abs(adapted.logits(TEXTS) - base.logits(TEXTS)).max() > 1e-3
    np.testing.assert_allclose(adapted.logits(TEXTS), expected.logits(TEXTS), atol=1e-5)


def output_projections(network: nn.Module, architecture: str) -> list[nn.Linear]:
    ends = {
        "distilbert": ("attention.out_lin", "ffn.lin2"),
        "albert": ("attention.dense", "ffn_output"),
        "modernbert": ("attn.Wo", "mlp.Wo"),
    }.get(architecture, ("output.dense",))
    return [module for name, module in network.named_modules() if name.endswith(ends) and isinstance(module, nn.Linear)]


def test_inserting_draws_no_weights_of_the_network_anew(tiny_model: Callable[..., SentimentModel]) -> None:
    network = tiny_model().network
    before: dict[str, Tensor] = {name: weight.clone() for name, weight in network.named_parameters()}
    insert_adapters(network, ["bert.encoder.layer.1.output.dense"], bottleneck=4)
    after = {name.replace(".host.", "."): weight for name, weight in network.named_parameters()}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert sum(weight.numel() for weight in adapter_parameters(network)) == 2 * 32 * 4 + 4 + 32
