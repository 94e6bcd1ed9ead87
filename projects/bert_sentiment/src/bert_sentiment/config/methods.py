"""Which weights of the encoder are fine-tuned, and which small ones are added to it."""

from dataclasses import dataclass
from typing import Literal, get_args

MethodName = Literal[
    "full", "head", "bitfit", "lora", "dora", "ia3", "prefix", "p_tuning", "prompt", "adapter"
]  # fmt: skip
METHOD_NAMES: tuple[MethodName, ...] = get_args(MethodName)
_TARGETED = ("lora", "dora", "ia3", "adapter")


@dataclass(kw_only=True, frozen=True)
class MethodConfig:
    """Fine-tuning method. Whichever it is, the classification layer is trained too."""

    name: MethodName = "full"
    """full: every weight. head: the classification layer only. bitfit: the biases. lora, dora: low-rank updates. ia3:
    scales of keys, values and hidden activations. prefix: keys and values of virtual tokens in each layer. p_tuning,
    prompt: embeddings of virtual tokens, with and without a network that makes them. adapter: small bottleneck
    layers."""

    rank: int = 8
    """Rank of each update of lora and dora, at least 1."""

    alpha: float = 16.0
    """Updates of lora and dora are multiplied by alpha / rank."""

    dropout: float = 0.0
    """Dropout on the input of each update of lora and dora, from 0 to below 1."""

    n_virtual_tokens: int = 20
    """Virtual tokens of prefix, p_tuning and prompt; they take as many positions from the text."""

    bottleneck: int = 32
    """Width of each adapter's bottleneck, below that of the encoder."""

    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Where adapters stand: houlsby after attention and feed-forward, pfeiffer after the feed-forward only."""

    target_modules: tuple[str, ...] | None = None
    """Layers that lora, dora, ia3 or adapter change, by the ends of their names (or regular expressions for them).
    None: as fits the architecture."""

    def __post_init__(self) -> None:
        if self.name not in METHOD_NAMES:
            raise ValueError(f"--method.name {self.name} is none of {', '.join(METHOD_NAMES)}")
        for name in ("rank", "n_virtual_tokens", "bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"--method.{name} {getattr(self, name)} must be at least 1")
        if not self.alpha > 0:
            raise ValueError(f"--method.alpha {self.alpha} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--method.dropout {self.dropout} must be at least 0 and below 1")
        if self.target_modules is not None:
            if self.name not in _TARGETED:
                raise ValueError(f"--method.target_modules goes with {', '.join(_TARGETED)}, not with {self.name}")
            if not self.target_modules or not all(self.target_modules):
                raise ValueError("--method.target_modules is empty: name layers, or leave it out")
