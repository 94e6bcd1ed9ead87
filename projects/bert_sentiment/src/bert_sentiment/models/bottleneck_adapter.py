"""Bottleneck adapters: small trained layers inside a frozen encoder.

Houlsby et al. (2019), "Parameter-Efficient Transfer Learning for NLP", put one after the attention and one after the
feed-forward network of every layer; Pfeiffer et al. (2021), "AdapterFusion", keep the second only. Each stands where
the sublayer's result is about to join the residual stream. Layer norms stay frozen (Houlsby et al. train them).

Shapes: B texts, T tokens, C width of the encoder, M width of the bottleneck (M < C).
"""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel


class BottleneckAdapter(nn.Module):
    """x + up(gelu(down(x))): C -> M -> C, with 2·C·M + M + C parameters.

    `up` starts at zero, so that an untrained adapter is the identity and the encoder starts as it was pretrained.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.down(x))  # (B, T, M)
        return x + self.up(hidden)  # (B, T, C)


class Adapted(nn.Module):
    """A module of the encoder with an adapter behind it."""

    def __init__(self, host: nn.Module, adapter: BottleneckAdapter) -> None:
        super().__init__()
        self.host = host
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(self.host(x))


def insert_adapters(network: PreTrainedModel, hosts: Iterable[str], bottleneck: int) -> None:
    """Put an adapter behind each of the named modules, in place. The hosts' outputs are (B, T, C)."""
    for name in hosts:
        host = network.get_submodule(name)
        # A linear layer tells how wide its output is; a dropout's is the residual stream.
        width = host.out_features if isinstance(host, nn.Linear) else network.config.hidden_size
        adapter = BottleneckAdapter(width, bottleneck).to(device=network.device, dtype=network.dtype)
        network.set_submodule(name, Adapted(host, adapter))


def adapter_parameters(network: nn.Module) -> Iterable[nn.Parameter]:
    """The parameters of all adapters in the network."""
    for module in network.modules():
        if isinstance(module, BottleneckAdapter):
            yield from module.parameters()
