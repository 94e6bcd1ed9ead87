"""The shape of a Transformer."""

from dataclasses import dataclass
from typing import Literal

PositionName = Literal["none", "sinusoidal", "learned", "rotary", "alibi"]
NormName = Literal["layer", "rms"]
NormPosition = Literal["pre", "post"]
ActivationName = Literal["relu", "relu2", "gelu", "gelu_tanh", "swiglu"]


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    """Shape of the Transformer."""

    n_layers: int = 4
    """Number of blocks (of the encoder and of the decoder each, in an encoder-decoder)."""

    d_model: int = 128
    """Width of the residual stream; a multiple of n_heads."""

    n_heads: int = 4
    """Attention heads."""

    n_kv_heads: int | None = None
    """Key/value heads of grouped-query attention; divides n_heads. None: as many as n_heads."""

    d_hidden: int = 512
    """Width between the two layers of the feed-forward part; 4 × d_model is usual."""

    context: int = 128
    """Longest sequence, in tokens."""

    positions: PositionName = "rotary"
    """Positional encoding."""

    rotary_base: float = 10_000.0
    """Longest wavelength of rotary and sinusoidal positions is 2π × this, in tokens."""

    norm: NormName = "layer"
    """Normalisation: layer norm or root-mean-square norm."""

    norm_position: NormPosition = "pre"
    """Normalise the input of each sub-layer (pre) or the sum behind it (post, as in the paper of 2017)."""

    activation: ActivationName = "gelu"
    """Non-linearity of the feed-forward part; swiglu adds a third matrix."""

    bias: bool = False
    """Whether linear layers and layer norms have a bias."""

    qk_norm: bool = False
    """Normalise each query and key head, which bounds the attention scores."""

    dropout: float = 0.0
    """Probability of zeroing an activation in training, 0 to below 1."""

    tie_embeddings: bool = True
    """Use the token embeddings as output head too (Press & Wolf 2017)."""

    scale_embeddings: bool = False
    """Multiply token embeddings by sqrt(d_model) (Vaswani et al. 2017, §3.4)."""

    ngram_orders: tuple[int, ...] = ()
    """Lengths of n-grams that get an embedding of their own, added to the token's: 2 3 for the last two and the last
    three tokens. Decoder-only models; None by default."""

    ngram_rows: int = 8192
    """Rows of each table of n-grams; where there are more n-grams, several share a row."""

    ngram_width: int = 32
    """Width of each table of n-grams."""

    n_experts: int = 1
    """Feed-forward experts a block; above 1 the block is a mixture of experts."""

    n_chosen_experts: int = 2
    """Experts each token is sent to, in a mixture of experts."""

    balancing_weight: float = 0.01
    """Weight of the load-balancing loss of a mixture of experts."""

    def __post_init__(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "d_hidden", "context", "n_experts"):
            if getattr(self, name) < 1:
                raise ValueError(f"--model.{name} {getattr(self, name)} must be at least 1")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"--model.d_model {self.d_model} is not a multiple of --model.n_heads {self.n_heads}; "
                f"with {self.n_heads} heads use {self._nearest_width()}"
            )
        if self.n_kv_heads is not None and (self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads):
            raise ValueError(f"--model.n_kv_heads {self.n_kv_heads} does not divide --model.n_heads {self.n_heads}")
        if not self.rotary_base > 0:
            raise ValueError(f"--model.rotary_base {self.rotary_base} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--model.dropout {self.dropout} must be at least 0 and below 1")
        if self.n_experts > 1 and not 1 <= self.n_chosen_experts <= self.n_experts:
            raise ValueError(
                f"--model.n_chosen_experts {self.n_chosen_experts} must lie between 1 and "
                f"--model.n_experts {self.n_experts}"
            )
        if len(set(self.ngram_orders)) != len(self.ngram_orders) or any(not 2 <= n <= 8 for n in self.ngram_orders):
            raise ValueError(f"--model.ngram_orders {self.ngram_orders} must be different numbers from 2 to 8")
        for name in ("ngram_rows", "ngram_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"--model.{name} {getattr(self, name)} must be at least 1")

    def _nearest_width(self) -> int:
        return max(1, round(self.d_model / self.n_heads)) * self.n_heads
