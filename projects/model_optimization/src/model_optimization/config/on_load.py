"""Quantised forms of a torch network that no file of weights can hold."""

from dataclasses import dataclass
from typing import Literal

OnLoadName = Literal[
    "torchao_int8_dynamic", "torchao_int8_weight_only", "torchao_int4_weight_only", "bitsandbytes_nf4", "pt2e_x86"
]


@dataclass(kw_only=True, frozen=True)
class OnLoadConfig:
    """What is done to the network each time that the variant is opened."""

    method: OnLoadName = "torchao_int8_dynamic"
    """torchao_*: int8 or int4 weights in torch's eager mode. bitsandbytes_nf4: 4-bit weights, computed in fp32.
    pt2e_x86: int8 with static ranges, compiled by Inductor, which takes seconds and needs a C++ compiler."""

    rows: int = 1
    """Texts that are computed at once (pt2e_x86): it is compiled for one shape, and other batches are cut or filled."""

    length: int = 128
    """Tokens of a text (pt2e_x86): shorter texts are padded to them. At most the model's max_length counts."""

    calibration_texts: int = 64
    """Training texts that the ranges of the activations are taken from (pt2e_x86)."""

    def __post_init__(self) -> None:
        for name in ("rows", "calibration_texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"--on_load.{name} {getattr(self, name)} must be at least 1")
        if not 8 <= self.length <= 512:
            raise ValueError(f"--on_load.length {self.length} is outside 8 … 512")
