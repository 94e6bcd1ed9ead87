"""The loss of direct preference optimisation, written out once (Rafailov et al. 2023, "Direct Preference Optimization:
Your Language Model is Secretly a Reward Model", section 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dpo_loss(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float
) -> Tensor:
    """Equation 7: −ln σ(β (ln π(y_w|x)/π_ref(y_w|x) − ln π(y_l|x)/π_ref(y_l|x))), the mean over pairs.

    β ln π/π_ref is the reward that the model implies for an answer; σ of a difference of rewards is the probability
    that the better answer wins (Bradley and Terry 1952). So this is logistic regression on which answer was preferred,
    with no reward model and no sampling.

    Args:
        chosen: (N,) ln π(y_w|x), the sum over the answer's tokens under the model that is trained.
        rejected: (N,) ln π(y_l|x).
        reference_chosen: (N,) ln π_ref(y_w|x), under the model at the start, which stays as it is.
        reference_rejected: (N,) ln π_ref(y_l|x).
        beta: weight of staying near the reference.

    Returns:
        Scalar, in nats; ln 2 where the model is the reference.
    """
    reward_chosen = beta * (chosen - reference_chosen)  # (N,)
    reward_rejected = beta * (rejected - reference_rejected)  # (N,)
    return -F.logsigmoid(reward_chosen - reward_rejected).mean()


def answer_logprobs(logits: Tensor, ids: Tensor, is_answer: Tensor) -> Tensor:
    """ln π(y|x) of each row: the sum over the tokens of its answer.

    Args:
        logits: (B, T, V), of which those at t predict the token at t + 1.
        ids: (B, T) tokens of prompt and answer.
        is_answer: (B, T) bool; the first token of a row is never one.

    Returns:
        (B,) in nats.
    """
    logprobs = logits[:, :-1].log_softmax(-1)  # (B, T - 1, V)
    of_next = torch.gather(logprobs, 2, ids[:, 1:, None]).squeeze(2)  # (B, T - 1)
    return (of_next * is_answer[:, 1:]).sum(1)
