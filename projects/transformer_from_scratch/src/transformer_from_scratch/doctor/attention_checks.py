"""Properties that every attention has, measured from outside."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from transformer_from_scratch.doctor.attention_subject import BATCH, TOKENS, AttentionSubject
from transformer_from_scratch.doctor.checks import Check, failed, noted, passed, skipped
from transformer_from_scratch.doctor.masks import ProbedMask
from transformer_from_scratch.doctor.measuring import relative_error, shown
from transformer_from_scratch.doctor.naming import usual_meaning
from transformer_from_scratch.doctor.projections import projection_role

_MASK_BUGS = ("mask_wrong_fill", "mask_multiplied", "mask_after_softmax")


def finite(subject: AttentionSubject) -> Check:
    """No NaN and no infinity for ordinary input."""
    output = subject(subject.random())
    bad = ~output.isfinite().all(dim=-1)  # (B, T)
    if not bool(bad.any()):
        return passed("finite outputs", f"{output.numel()} numbers")
    positions = sorted({int(position) for position in bad.nonzero()[:, 1]})
    bugs = ("causal_off_by_one",) if positions == [0] else ("inverted_mask",) if positions == [TOKENS - 1] else ()
    shape = f"NaN or inf at positions {positions} of {TOKENS}: these queries may attend to nothing"
    return failed("finite outputs", shape, *bugs)


def deterministic(first: Tensor, second: Tensor, how: str) -> Check:
    """Two runs in evaluation mode agree."""
    difference = (first - second).nan_to_num().abs().max().item()
    if difference == 0:
        return passed("same result twice in eval mode", f"difference 0{how}")
    text = f"two runs of the same input in eval mode differ by {shown(difference)}{how}"
    return failed("same result twice in eval mode", text, "dropout_in_eval")


def batch_independence(subject: AttentionSubject) -> Check:
    """One sequence of a batch does not change another."""
    x = subject.random()
    changed = torch.cat((x[:1], subject.random(seed=5)[1:]))
    error = relative_error(subject(changed)[:1], subject(x)[:1])
    name = "batch independence"
    if error <= subject.tolerance:
        return passed(name, f"row 0 moves by {shown(error)} when the others change")
    return failed(name, f"row 0 moves by {shown(error)} of its spread when the others change", "softmax_over_batch")


def describe_visibility(influence: Tensor) -> str:
    """Which tokens an output depends on, in words: "past and self", "one ahead", "future", "all", "mixed" …"""
    n_tokens = len(influence)
    ahead = torch.arange(n_tokens)[None, :] - torch.arange(n_tokens)[:, None]
    sees = influence > 0
    patterns = {
        "all": torch.ones_like(sees),
        "past and self": ahead <= 0,
        "one ahead": ahead <= 1,
        "two ahead": ahead <= 2,
        "past": ahead < 0,
        "future": ahead > 0,
        "future and self": ahead >= 0,
        "self": ahead == 0,
    }
    patterns |= {f"a window of {width} tokens": (ahead <= 0) & (ahead > -width) for width in range(2, n_tokens)}
    return next((name for name, pattern in patterns.items() if torch.equal(sees, pattern)), "mixed")


def judge_causality(influence: Tensor, *, expected: bool, how: str) -> Check:
    """Compare the (T, T) influence of tokens on outputs with a causal mask."""
    name = "causality"
    seen = describe_visibility(influence)
    future = influence.triu(1).max().item()
    text = f"outputs depend on {_in_words(seen)}; strongest influence of a later token {shown(future)}{how}"
    if seen == "past and self" or "window" in seen:
        return passed(name, text)
    if seen == "all" and not expected:
        return skipped(name, f"every token sees every other, as in an encoder{how}")
    bugs = {
        "all": ("no_causal_mask", *_MASK_BUGS),
        "one ahead": ("causal_off_by_one",),
        "two ahead": ("causal_off_by_one",),
        "past": ("causal_off_by_one",),
        "future": ("inverted_mask",),
        "future and self": ("inverted_mask",),
    }.get(seen, ())
    return failed(name, text, *bugs[:1])


def _in_words(seen: str) -> str:
    return {
        "mixed": "tokens in no usual pattern",
        "all": "all tokens",
        "one ahead": "the past, self and one token of the future",
        "two ahead": "the past, self and two tokens of the future",
        "past": "the past without self",
    }.get(seen, seen)


def causality(subject: AttentionSubject, *, expected: bool) -> Check:
    """Under its own causal mask, its causal flag, or a causal mask handed over, no output sees a later token."""
    influence = subject.influence()
    seen = describe_visibility(influence)
    if seen != "all" or (expected and not subject.masks and subject.causal_flag is None):
        return judge_causality(influence, expected=expected, how="")
    lower = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril().expand(BATCH, TOKENS, TOKENS)
    if subject.can_express(lower):
        return judge_causality(subject.influence(allowed=lower), expected=True, how=", under a causal mask")
    flagged = flag_influence(subject)
    if flagged is not None:
        return judge_causality(flagged, expected=True, how=f", with {subject.causal_flag}=True")
    return judge_causality(influence, expected=expected, how="")


def flag_influence(subject: AttentionSubject) -> Tensor | None:
    """The influence of tokens with the target's causal flag set; None if it has none or insists on more arguments."""
    if subject.causal_flag is None:
        return None
    try:
        return subject.influence(causal=True)
    except Exception:
        return None


def mask_convention(mask: ProbedMask, said: str | None) -> Check:
    """What the mask was seen to do, against what its name, or the learner, says."""
    name = f"mask '{mask.form.argument}'"
    expected = said or usual_meaning(mask.form.argument)
    if mask.behaviour == "works" and mask.form.type != "added" and expected not in (None, mask.form.true_means):
        sense = "masked out" if mask.form.true_means == "ignore" else "may attend"
        origin = "--mask" if said else "its name"
        return failed(name, f"True is taken as {sense}, the opposite of what {origin} says", "inverted_mask")
    if mask.behaviour == "works":
        return passed(name, f"{mask.form}; a masked token has no influence")
    if mask.behaviour == "unused":
        return failed(name, "has no influence on the output, in any form the doctor knows", "mask_ignored")
    if mask.behaviour == "not finite":
        return failed(name, f"{mask.form}: gives NaN", "softmax_over_queries")
    text = f"{mask.form}: a masked token still moves the output by {shown(mask.leak)} of its spread"
    return failed(name, text, *_MASK_BUGS)


def padding(subject: AttentionSubject) -> Check:
    """What stands in the padding, and how much of it there is, does not matter."""
    name = "padding invariance"
    keep = (torch.arange(TOKENS) < TOKENS - 2).expand(BATCH, TOKENS)
    allowed = keep[:, None, :].expand(BATCH, TOKENS, TOKENS).contiguous()
    if not subject.can_express(allowed):
        return skipped(name, "takes no mask of padding")
    x = subject.random()
    n_real = TOKENS - 2
    other = torch.cat((x[:, :n_real], subject.random(seed=6)[:, n_real:]), dim=1)
    padded = subject(x, allowed=allowed)[:, :n_real]
    content = relative_error(subject(other, allowed=allowed)[:, :n_real], padded)
    short = allowed[:, :n_real, :n_real].contiguous()
    length = relative_error(padded, subject(x[:, :n_real], allowed=short))
    text = f"outputs move by {shown(content)} when padding changes, by {shown(length)} when it is cut off"
    if max(content, length) <= subject.tolerance:
        return passed(name, text)
    return failed(name, text)


def weights_sum_to_one(subject: AttentionSubject) -> Check:
    """Where all values are equal, so is the output, whatever the weights: they are a weighted mean."""
    name = "weights sum to 1"
    token = subject.random(n_tokens=1)
    same = token.expand(-1, TOKENS, -1).contiguous()
    try:
        expected = subject(token).expand(-1, TOKENS, -1)
    except Exception:
        return skipped(name, "does not run on a single token")
    # Where queries come in apart, they may vary, unless a residual connection adds them to the output.
    children = [] if subject.module is None else [type(child).__name__ for child in subject.module.modules()]
    apart = subject.inputs == "separate" and not any("Norm" in kind for kind in children)
    output = subject(subject.random(seed=3), same, same) if apart else subject(same)
    rows = output.isfinite().all(dim=-1).all(dim=0)  # (T,)
    if not bool(rows.any()):
        return skipped(name, "no finite outputs")
    error = relative_error(output[:, rows], expected[:, rows])
    if error <= subject.tolerance:
        return passed(name, f"equal values give that value to {shown(error)}")
    text = f"equal values give something else, off by {shown(error)} of the spread"
    return failed(name, text, "softmax_over_queries", "softmax_over_heads", "split_by_view")


def permutation(subject: AttentionSubject, *, knows_positions: bool) -> Check:
    """Without mask and positions, shuffled tokens give the same outputs, shuffled."""
    name = "permutation equivariance"
    if describe_visibility(subject.influence()) != "all":
        return skipped(name, "the order matters under its own mask")
    x = subject.random()
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(2))
    error = relative_error(subject(x[:, order]), subject(x)[:, order])
    if error <= subject.tolerance:
        return passed(name, f"shuffled tokens give shuffled outputs to {shown(error)}")
    if knows_positions:
        return skipped(name, "positions enter inside")
    return failed(name, f"shuffled tokens change the outputs by {shown(error)}", "split_by_view", "merge_by_view")


def causal_alignment(subject: AttentionSubject) -> Check:
    """Asked for a causal mask with fewer queries than keys, the last query sees every key."""
    name = "causal mask, more keys than queries"
    by_flag = flag_influence(subject)
    by_itself = describe_visibility(subject.influence()) == "past and self"
    if not subject.takes_other_keys or (by_flag is None and not by_itself):
        return skipped(name, "makes no causal mask for keys of another length")
    x = subject.random()
    try:
        last = subject(x[:, -1:], x, x, causal=by_flag is not None)
    except Exception:
        return skipped(name, "does not run with fewer queries than keys")
    error = relative_error(last, subject(x, causal=by_flag is not None)[:, -1:])
    if error <= subject.tolerance:
        return passed(name, f"1 query, {TOKENS} keys: equal to the full result to {shown(error)}")
    text = f"1 query, {TOKENS} keys: off by {shown(error)}"
    first = relative_error(last, subject(x[:, -1:], x[:, :1], x[:, :1], causal=by_flag is not None))
    if first <= subject.tolerance:
        return failed(name, f"{text}; equal to attending to key 0 alone", "cache_top_left_mask")
    return failed(name, text, "cache_mismatch")


def fully_masked(subject: AttentionSubject) -> Check:
    """What a query receives that may attend to nothing."""
    name = "query without keys"
    allowed = torch.ones(BATCH, TOKENS, TOKENS, dtype=torch.bool)
    allowed[:, 2] = False
    if not subject.can_express(allowed):
        allowed = torch.ones_like(allowed)
        allowed[1] = False  # a row of padding alone
    if not subject.can_express(allowed):
        return skipped(name, "takes no mask that hides every key")
    output = subject(subject.random(), allowed=allowed)
    empty = output[~allowed.any(dim=-1)]
    if bool(empty.isnan().any()):
        others = output[allowed.any(dim=-1)]
        spread = "; the other rows stay finite" if bool(others.isfinite().all()) else "; it spreads to other rows"
        return noted(
            name,
            f"a query that may attend to nothing gets NaN{spread} (harmless unless a row is all padding)",
        )
    return passed(name, "a query that may attend to nothing gets finite numbers")


def gradients(module: nn.Module, run: Callable[[], Tensor], *, context: int | None = None) -> Check:
    """Every parameter takes part in the result of `run()`. `context` tells a table of positions by its rows."""
    name = "gradient reaches every parameter"
    parameters = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    if not parameters:
        return skipped(name, "has no parameters")
    module.zero_grad()
    with torch.enable_grad():
        output = run()
        if not output.requires_grad:
            return failed(name, "the output carries no gradient at all", "gradient_cut")
        output[output.isfinite()].square().sum().backward()
    # A key bias shifts all scores of a query alike, and has no gradient in theory: one dimension proves nothing.
    unreached = [n for n, p in parameters if p.grad is None or (p.dim() >= 2 and not bool((p.grad != 0).any()))]
    tables = [n for n, p in parameters if n in unreached and _is_position_table(n, p, context)]
    outputs = [n for n in unreached if _is_output(n)]
    module.zero_grad()
    if tables:
        return failed(name, f"no gradient reaches the table of positions {tables[0]}", "positions_missing")
    if outputs:
        return failed(name, f"no gradient reaches {outputs[0]}: it is never used", "missing_output_projection")
    if unreached:
        return noted(name, f"none reaches {', '.join(unreached[:4])}: built, but not used in this call")
    return passed(name, f"{len(parameters)} of {len(parameters)}")


def _is_position_table(name: str, parameter: Tensor, context: int | None) -> bool:
    return "pos" in name.lower() or name.endswith("wpe.weight") or (parameter.dim() == 2 and len(parameter) == context)


def _is_output(name: str) -> bool:
    parts = name.split(".")
    return len(parts) >= 2 and projection_role(parts[-2]) == "output" and parts[-2] not in ("fc", "linear", "dense")
