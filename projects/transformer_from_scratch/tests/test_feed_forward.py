"""Feed-forward networks against their formulas, mixtures against all experts applied to all tokens."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, MixtralConfig
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func

from transformer_from_scratch.feed_forward import FeedForward, MixtureOfExperts, load_balancing_loss

C, F = 6, 10


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def phi(x: float) -> float:
    """Distribution function of the standard normal distribution."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


FORMULAS = {
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "gelu": lambda x: x * phi(x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("bias", [False, True])
def test_each_activation_is_its_formula(activation, bias):
    torch.manual_seed(0)
    network = FeedForward(C, F, activation, bias=bias).double()
    x = 3 * torch.randn(2, 5, C, dtype=torch.float64)
    with torch.no_grad():
        hidden = x @ network.up.weight.T + (network.up.bias if bias else 0)
        hidden.apply_(FORMULAS[activation])
        expected = hidden @ network.down.weight.T + (network.down.bias if bias else 0)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_swiglu_equals_llama(bias):
    config = LlamaConfig(hidden_size=C, intermediate_size=F, num_attention_heads=1, hidden_act="silu", mlp_bias=bias)
    ours, llama = FeedForward(C, F, "swiglu", bias=bias), LlamaMLP(config)
    assert ours.gate is not None
    llama.gate_proj.load_state_dict(ours.gate.state_dict())
    llama.up_proj.load_state_dict(ours.up.state_dict())
    llama.down_proj.load_state_dict(ours.down.state_dict())
    x = 3 * torch.randn(2, 5, C)
    torch.testing.assert_close(ours(x), llama(x), rtol=0, atol=1e-6)


def test_dropout_drops_hidden_units_in_training_only():
    torch.manual_seed(0)
    network = FeedForward(C, 4000, "gelu", bias=False, dropout=0.25)
    nn.init.constant_(network.up.weight, 1.0)
    nn.init.constant_(network.down.weight, 1 / 4000)
    x = torch.full((1, C), 0.5)
    expected = FORMULAS["gelu"](0.5 * C)
    assert network.eval()(x)[0, 0].item() == pytest.approx(expected, rel=1e-5)
    noisy = network.train()(x)[0, 0].item()  # expected · kept / 0.75, a standard deviation of 0.9 %
    assert noisy == pytest.approx(expected, rel=0.05)
    assert noisy != pytest.approx(expected, rel=1e-5)


# --- mixture of experts ---------------------------------------------------------------------------


def build_experts(n_experts: int, n_chosen: int, **options) -> MixtureOfExperts:
    torch.manual_seed(n_experts)
    experts = MixtureOfExperts(C, F, "swiglu", n_experts=n_experts, n_chosen=n_chosen, bias=False, **options)
    nn.init.normal_(experts.router.weight)
    return experts


def size_of_gradient(parameter: Tensor) -> float:
    assert parameter.grad is not None
    return parameter.grad.abs().max().item()


def every_expert_on_every_token(layer: MixtureOfExperts, x: Tensor) -> Tensor:
    rows = []
    for token in x.flatten(0, -2):
        probabilities = (layer.router.weight @ token).exp()
        probabilities = probabilities / probabilities.sum()
        chosen = sorted(range(len(layer.experts)), key=lambda e: -probabilities[e].item())[: layer.n_chosen]
        total = sum(probabilities[e] for e in chosen) if layer.n_chosen > 1 else 1.0
        rows.append(sum(probabilities[e] / total * layer.experts[e](token) for e in chosen))
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize(("n_experts", "n_chosen"), [(4, 1), (4, 2), (4, 3), (4, 4), (1, 1), (50, 2)])
def test_experts_equal_the_dense_sum(n_experts, n_chosen):
    # With 50 experts and 30 tokens some experts have nothing to do.
    layer = build_experts(n_experts, n_chosen).double()
    x = torch.randn(2, 15, C, dtype=torch.float64)
    torch.testing.assert_close(layer(x), every_expert_on_every_token(layer, x), rtol=0, atol=1e-12)


def test_all_experts_chosen_are_weighted_by_the_whole_softmax():
    layer = build_experts(3, 3)
    x = torch.randn(1, 7, C)
    probabilities = layer.router(x).softmax(dim=-1)
    expected = sum(probabilities[..., e, None] * layer.experts[e](x) for e in range(3))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_chosen", [2, 3])
def test_equals_mixtral(n_chosen):
    layer = build_experts(4, n_chosen)
    config = MixtralConfig(
        hidden_size=C,
        intermediate_size=F,
        num_local_experts=4,
        num_experts_per_tok=n_chosen,
        hidden_act="silu",
    )
    config._experts_implementation = "eager"
    mixtral = MixtralSparseMoeBlock(config)
    weights = layer.state_dict()
    names = [f"experts.{index}" for index in range(4)]
    gate_up = [torch.cat((weights[f"{name}.gate.weight"], weights[f"{name}.up.weight"])) for name in names]
    mixtral.load_state_dict(
        {
            "gate.weight": weights["router.weight"],
            "experts.gate_up_proj": torch.stack(gate_up),
            "experts.down_proj": torch.stack([weights[f"{name}.down.weight"] for name in names]),
        }
    )
    x = torch.randn(2, 9, C)
    torch.testing.assert_close(layer(x), mixtral(x), rtol=0, atol=1e-6)
    # Mixtral counts each of the k choices of a token as a whole one.
    theirs = load_balancing_loss_func((layer.router(x).flatten(0, 1),), 4, n_chosen)
    torch.testing.assert_close(layer.balancing_loss, theirs / n_chosen, rtol=1e-6, atol=0)


@pytest.mark.parametrize("n_chosen", [1, 2])
def test_gradients_reach_the_router_and_the_chosen_experts_alone(n_chosen):
    layer = build_experts(5, n_chosen)
    x = torch.randn(1, 1, C)
    chosen = set(layer.router(x).topk(n_chosen).indices.flatten().tolist())
    layer(x).sin().sum().backward()
    for index, expert in enumerate(layer.experts):
        for parameter in expert.parameters():
            assert (size_of_gradient(parameter) > 0) == (index in chosen)
    assert size_of_gradient(layer.router.weight) > 1e-4


def test_balancing_loss_lies_between_one_and_the_number_of_experts():
    even = torch.full((8, 4), 0.25)
    everyone = torch.arange(8)[:, None] % 4
    assert load_balancing_loss(even, everyone).item() == 1.0
    collapsed = torch.eye(4)[torch.full((8,), 2)]
    assert load_balancing_loss(collapsed, torch.full((8, 1), 2)).item() == 4.0


def test_balancing_loss_is_the_formula_and_its_gradient_evens_out():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]], requires_grad=True)
    chosen = torch.tensor([[0, 1], [0, 1]])
    loss = load_balancing_loss(probabilities, chosen)
    assert loss.item() == pytest.approx(3 * (0.5 * 0.65 + 0.5 * 0.25))
    loss.backward()
    # 3 experts · share of assignments / 2 tokens: pushes the popular experts down, leaves the third alone.
    assert probabilities.grad is not None
    assert probabilities.grad.tolist() == [[0.75, 0.75, 0.0]] * 2


def test_the_layer_records_its_balancing_loss():
    layer = build_experts(4, 2)
    x = torch.randn(3, 5, C)
    layer(x)
    probabilities = layer.router(x).softmax(dim=-1).flatten(0, 1)
    expected = load_balancing_loss(probabilities, probabilities.topk(2).indices)
    torch.testing.assert_close(layer.balancing_loss, expected)
    layer.balancing_loss.backward()
    assert size_of_gradient(layer.router.weight) > 0


def test_a_copy_after_training_computes_the_same():
    layer = MixtureOfExperts(8, 12, "gelu", n_experts=3, n_chosen=2, bias=False)
    x = torch.randn(2, 5, 8)
    output = layer(x)
    copied = copy.deepcopy(layer)
    assert torch.equal(copied(x), output)
    assert copied.balancing_loss.requires_grad
    assert layer.balancing_loss.requires_grad


def test_experts_work_under_autocast():
    layer = build_experts(4, 2)
    x = torch.randn(2, 9, C)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, layer(x), rtol=0, atol=0.05)


@pytest.mark.parametrize("n_chosen", [0, 5])
def test_impossible_choice_is_refused(n_chosen):
    with pytest.raises(ValueError, match=f"^cannot choose {n_chosen} of 4 experts$"):
        build_experts(4, n_chosen)
