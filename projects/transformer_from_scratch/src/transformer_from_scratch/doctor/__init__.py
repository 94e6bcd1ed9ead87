"""The doctor examines anybody's attention, model, norm or loss, and names the likely bug.

    transformer-from-scratch doctor my_module:MyAttention
    transformer-from-scratch doctor path/to/gpt.py:GPT --arguments n_layer=2 n_embd=64

It imports and runs the learner's own code in this process; point it only at code that you trust.

Two methods. Black box: properties that attention must have (causality, indifference to padding, to the rest of the
batch, to the order of tokens, equality with and without a cache) are measured from outside. Grey box: the projections
are found in the module, attention is computed in float64 by the right recipe and by one with each known bug, and
whichever gives the target's own numbers is the diagnosis.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer_from_scratch.config import DoctorConfig

__all__ = ["run"]


def run(config: "DoctorConfig") -> None:
    """Examine the target, print the checks and the diagnosis.

    Raises:
        SystemExit: with code 1, when a check failed.
        UserError: the target cannot be imported, built or called.
    """
    from transformer_from_scratch.doctor.examine import examine
    from transformer_from_scratch.doctor.rendering import render

    examination = examine(config)
    print(render(examination))
    if not examination.healthy:
        raise SystemExit(1)
