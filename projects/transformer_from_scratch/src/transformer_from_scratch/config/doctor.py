"""What `doctor` examines."""

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass(kw_only=True, frozen=True)
class DoctorConfig:
    """`doctor`: examine an attention, a model, a norm or a loss that somebody else wrote."""

    target: Positional[str]
    """my_module:MyAttention or path/to/file.py:MyAttention, a class or a function. Its code is imported and run."""

    kind: Literal["auto", "attention", "model", "norm", "loss"] = "auto"
    """What the target is; auto decides by its name and layers."""

    arguments: tuple[str, ...] = ()
    """Constructor arguments, as in: d_model=64 n_heads=4. The others are chosen small."""

    causal: bool | None = None
    """Whether it must not see the future. None: by its name and behaviour."""

    mask: Literal["auto", "attend", "ignore"] = "auto"
    """What True means in its masks; auto goes by the argument's name."""

    shifted: bool | None = None
    """Whether targets come shifted already. None: `labels` are the tokens themselves, `targets` are shifted."""

    seed: int = 0
    """Seeds weights and inputs."""
