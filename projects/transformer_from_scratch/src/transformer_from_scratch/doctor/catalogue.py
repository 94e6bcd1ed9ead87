"""The bugs that the doctor knows by name: what each does, which line to look for, how to mend it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Bug:
    """One known mistake."""

    title: str
    why: str
    """What goes wrong, and why it goes unnoticed."""

    look_for: str
    """The line as it usually stands in the code."""

    fix: str
    is_arithmetic: bool = True
    """Whether it lies in the arithmetic of one attention or norm, where a reference can prove or rule it out."""


BUGS: dict[str, Bug] = {
    "inverted_mask": Bug(
        title="inverted mask",
        why="Each query attends to exactly what the mask should hide (the future, the padding), and to nothing it "
        "should see. A language model trains to a suspiciously low loss and then generates nonsense.",
        look_for="scores.masked_fill(mask, -inf) with a mask that is True where one MAY attend, or tril where triu "
        "belongs",
        fix="scores.masked_fill(~mask, -inf), or mask == 0. If True means 'masked out' in your code on purpose, say "
        "so: --mask ignore.",
    ),
    "missing_scale": Bug(
        title="missing scale 1/sqrt(head width)",
        why="Products of vectors of width D have a spread of sqrt(D). Without the scale the softmax is nearly "
        "one-hot at the start, its gradients vanish, and training is slow or stuck.",
        look_for="scores = q @ k.transpose(-2, -1)",
        fix="scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])",
    ),
    "scale_by_model_width": Bug(
        title="scale by the model width in place of the head width",
        why="A head's products are sums over its own D features, not over all d_model. Divided by sqrt(d_model) the "
        "scores are too small by sqrt(n_heads), and attention stays near uniform.",
        look_for="/ math.sqrt(d_model), / (self.embed_dim ** 0.5)",
        fix="divide by math.sqrt(d_model // n_heads), that is q.shape[-1] ** 0.5 after the heads are split",
    ),
    "scale_without_root": Bug(
        title="scale 1/D in place of 1/sqrt(D)",
        why="The scores shrink by another sqrt(D), so that all weights are nearly equal whatever the tokens are.",
        look_for="/ self.head_dim",
        fix="/ math.sqrt(self.head_dim)",
    ),
    "scale_multiplied": Bug(
        title="scores multiplied by sqrt(D) in place of divided",
        why="The softmax is one-hot from the start and passes no gradient.",
        look_for="scores * math.sqrt(d_k)",
        fix="scores / math.sqrt(d_k)",
    ),
    "softmax_over_queries": Bug(
        title="softmax over the queries",
        why="Weights of a key sum to 1 over the queries, instead of weights of a query over the keys: the output is "
        "no weighted mean, and a query's result depends on the other queries, later ones included.",
        look_for="softmax(dim=-2), or softmax(dim=1) on scores of (B, T, T)",
        fix="scores.softmax(dim=-1)",
    ),
    "softmax_over_heads": Bug(
        title="softmax over the heads",
        why="Heads compete for each pair of tokens, and the weights of a query do not sum to 1.",
        look_for="F.softmax(scores, dim=1) on scores of (B, H, Tq, Tk)",
        fix="F.softmax(scores, dim=-1)",
    ),
    "softmax_over_batch": Bug(
        title="softmax over the batch",
        why="Sequences of one batch influence each other, and a batch of 1 gives weights of 1 everywhere.",
        look_for="F.softmax(scores, dim=0), nn.Softmax(0), or a softmax with no dim",
        fix="F.softmax(scores, dim=-1)",
    ),
    "mask_multiplied": Bug(
        title="mask multiplied onto the scores",
        why="A masked score becomes 0, and exp(0) = 1 is an ordinary weight: masked tokens still get attention, "
        "often more than real ones with negative scores.",
        look_for="scores = scores * mask, or masked_fill(mask == 0, 0)",
        fix="scores = scores.masked_fill(mask == 0, -torch.inf), before the softmax",
    ),
    "mask_after_softmax": Bug(
        title="mask applied after the softmax, without renormalising",
        why="The masked tokens have already taken their share of the sum: the remaining weights sum to less than 1, "
        "by an amount that depends on the tokens that should be hidden.",
        look_for="weights = scores.softmax(-1) * mask",
        fix="fill the scores with -inf first, then take the softmax",
    ),
    "mask_wrong_fill": Bug(
        title="mask filled with the wrong number",
        why="The filled number must vanish in exp(). exp(1e-9) is 1 and exp(-1) is 0.37: masked tokens keep a good "
        "share. A large positive number gives them all of it.",
        look_for="masked_fill(mask == 0, 1e-9) where -1e9 was meant; -1, -10, 1e9",
        fix="masked_fill(mask == 0, -torch.inf), or torch.finfo(scores.dtype).min",
    ),
    "mask_ignored": Bug(
        title="mask never used",
        why="The argument is accepted and has no effect: every token sees padding and future.",
        look_for="a forward(…, mask) that never reads mask; scores.masked_fill(…) whose result is not assigned",
        fix="scores = scores.masked_fill(mask == 0, -torch.inf): masked_fill returns a new tensor",
    ),
    "causal_off_by_one": Bug(
        title="causal mask off by one",
        why="With one token of the future in sight a language model copies its answer. With its own token hidden, a "
        "query cannot use it, and the first one has nothing to attend to (NaN).",
        look_for="torch.tril(…, diagonal=1), triu(…, diagonal=2), tril(diagonal=-1), < in place of <=",
        fix="allowed = torch.ones(T, T, dtype=torch.bool).tril(): key position <= query position",
    ),
    "no_causal_mask": Bug(
        title="no causal mask in a decoder",
        why="Every output sees the tokens that it is to predict. The training loss falls towards 0, and generation, "
        "where there is no future to copy, fails.",
        look_for="attention in a decoder called without a mask, or a mask that is built and not passed on",
        fix="apply torch.ones(T, T).tril() in every self-attention of the decoder. If the model is an encoder on "
        "purpose, say so: --causal False.",
    ),
    "keys_values_swapped": Bug(
        title="keys and values swapped",
        why="Scores are taken with the values and the output is made of keys. Trained from scratch, self-attention "
        "only swaps two names; with weights loaded from elsewhere, or with keys and values of another origin, it is "
        "wrong.",
        look_for="attention(q, v, k), or k, q, v = qkv.chunk(3) against the order of the projections",
        fix="scores from query and key, output from the values",
    ),
    "values_used_as_keys": Bug(
        title="values used as keys",
        why="The scores come from the values, the key projection has no effect and gets no gradient.",
        look_for="scores = q @ v.transpose(-2, -1)",
        fix="scores = q @ k.transpose(-2, -1)",
    ),
    "keys_used_as_values": Bug(
        title="keys used as values",
        why="The output is made of keys; the value projection has no effect and gets no gradient.",
        look_for="out = weights @ k, or a value made by self.key",
        fix="out = weights @ v",
    ),
    "queries_used_as_keys": Bug(
        title="queries used as keys",
        why="Scores become symmetric, and each token attends mostly to itself.",
        look_for="scores = q @ q.transpose(-2, -1), or a key made by self.query",
        fix="scores = q @ k.transpose(-2, -1)",
    ),
    "key_reshaped": Bug(
        title="key reshaped in place of transposed",
        why="view or reshape to (…, D, Tk) gives the right shape and mixes features of different tokens: the scores "
        "are noise.",
        look_for="k.view(B, H, D, T), k.reshape(…, D, T)",
        fix="k.transpose(-2, -1)",
    ),
    "split_by_view": Bug(
        title="heads split by view without transpose",
        why="(B, T, C) read as (B, H, T, D) cuts the memory along the tokens: a 'head' holds pieces of a few "
        "tokens, and tokens of the future end up in the past.",
        look_for="x.view(B, n_heads, T, head_dim)",
        fix="x.view(B, T, n_heads, head_dim).transpose(1, 2)",
    ),
    "merge_by_view": Bug(
        title="heads merged by view without transpose",
        why="(B, H, T, D) read as (B, T, C) puts heads of different tokens side by side: every output is made of "
        "pieces of other tokens' outputs.",
        look_for="out.reshape(B, T, C), out.contiguous().view(B, T, C) without a transpose before",
        fix="out.transpose(1, 2).contiguous().view(B, T, C)",
    ),
    "missing_output_projection": Bug(
        title="missing output projection",
        why="Without the last linear map the heads stay side by side and are never combined (Vaswani et al. 2017: "
        "MultiHead = Concat(heads) W^O).",
        look_for="a self.proj that is built and not called, or a return of the merged heads",
        fix="return self.proj(merged_heads)",
    ),
    "kv_heads_tiled": Bug(
        title="shared key/value heads tiled in place of repeated",
        why="Grouped-query attention shares a key/value head among neighbouring query heads. repeat() orders them 0 "
        "1 0 1, repeat_interleave() 0 0 1 1: with weights from elsewhere every head meets the wrong keys.",
        look_for="k.repeat(1, n_rep, 1, 1), torch.cat([k] * n_rep, dim=1)",
        fix="k.repeat_interleave(n_rep, dim=1)",
    ),
    "rotary_on_values": Bug(
        title="rotary positions applied to the values",
        why="Only scores should depend on distance. Turned values add up with phases of their absolute positions, "
        "which no later layer undoes.",
        look_for="v = apply_rotary(v, …)",
        fix="rotate queries and keys only",
    ),
    "rotary_on_one": Bug(
        title="rotary positions applied to only one of query and key",
        why="The product then depends on the absolute position of one of them, not on their distance.",
        look_for="q = apply_rotary(q), and no such line for k (or the reverse)",
        fix="rotate both queries and keys",
    ),
    "norm_eps_outside": Bug(
        title="eps outside the root of a norm",
        why="sqrt(variance) + eps and sqrt(variance + eps) differ where a vector is nearly constant, by up to "
        "1/sqrt(eps); pretrained weights expect the second.",
        look_for="(x - mean) / (std + eps)",
        fix="(x - mean) / torch.sqrt(variance + eps)",
    ),
    "norm_unbiased": Bug(
        title="unbiased variance (divided by N - 1) in a norm",
        why="torch.std and torch.var divide by N - 1 unless told otherwise. Layer norm divides by N: outputs come "
        "out too small by sqrt((N - 1) / N).",
        look_for="x.std(-1), x.var(-1) without unbiased=False",
        fix="x.var(-1, unbiased=False, keepdim=True)",
    ),
    "norm_not_centred": Bug(
        title="layer norm without subtracting the mean",
        why="Divided by the standard deviation but not centred, it is neither layer norm nor RMS norm; a common "
        "offset grows without bound.",
        look_for="x / torch.sqrt(variance + eps)",
        fix="(x - mean) / torch.sqrt(variance + eps); RMS norm divides by the root of mean(x²) instead",
    ),
    "norm_wrong_axis": Bug(
        title="norm over the wrong axis",
        why="Statistics over tokens or over the batch mix positions: tokens of the future, and other sequences, "
        "leak into each output.",
        look_for="x.mean(1), x.mean(0), x.mean() in place of x.mean(-1, keepdim=True)",
        fix="mean and variance over the last axis only",
    ),
    "dropout_in_eval": Bug(
        title="dropout active in evaluation mode",
        why="Results are random after model.eval(): validation is too pessimistic and generation is noisy.",
        look_for="F.dropout(x, p), scaled_dot_product_attention(…, dropout_p=self.p), nn.Dropout(p) built inside "
        "forward",
        fix="F.dropout(x, p, training=self.training); dropout_p=self.p if self.training else 0.0; nn.Dropout in "
        "__init__",
        is_arithmetic=False,
    ),
    "cache_top_left_mask": Bug(
        title="causal mask aligned top-left with a cache",
        why="With 1 new query and many cached keys, is_causal=True and tril(Tq, Tk) let the query see key 0 only: "
        "both align the triangle to the first key. Without a cache nothing shows.",
        look_for="F.scaled_dot_product_attention(q, k, v, is_causal=True), torch.ones(Tq, Tk).tril()",
        fix="align to the last key: torch.ones(Tq, Tk, dtype=torch.bool).tril(diagonal=Tk - Tq); no mask for one "
        "new token",
        is_arithmetic=False,
    ),
    "cache_position_offset": Bug(
        title="positions not offset by the length of the cache",
        why="New tokens get positions 0, 1, … again instead of continuing after the cached ones: generation "
        "degrades with every token, though the first is right.",
        look_for="positions = torch.arange(T) in a forward that also takes a cache",
        fix="positions = torch.arange(n_cached, n_cached + T), for learned, sinusoidal and rotary positions alike",
        is_arithmetic=False,
    ),
    "cache_unused": Bug(
        title="cache not used",
        why="Cached keys and values have no influence: each new token attends to itself alone.",
        look_for="a cache that is returned but not concatenated: k = torch.cat((past_k, k), dim=-2) is missing",
        fix="concatenate cached and new keys (and values) along the tokens before the scores",
        is_arithmetic=False,
    ),
    "cache_mismatch": Bug(
        title="decoding with the cache differs from the whole sequence",
        why="The cached keys or values are not those that the whole sequence gives: cut off, in the wrong order, or "
        "taken before a norm or rotation that comes later.",
        look_for="the line that concatenates or writes the cache, and its axis (tokens, not heads or features)",
        fix="append along the token axis, after everything that changes keys and values",
        is_arithmetic=False,
    ),
    "positions_missing": Bug(
        title="positions not added",
        why="Without positions attention sees a set: 'dog bites man' is 'man bites dog'. Only a decoder of several "
        "layers can count by its causal mask alone (Haviv et al. 2022).",
        look_for="a table of positions that forward never adds; x = self.embed(tokens) alone",
        fix="x = self.embed(tokens) + self.position(torch.arange(T, device=tokens.device)), or rotary positions in "
        "attention",
        is_arithmetic=False,
    ),
    "unshifted_labels": Bug(
        title="unshifted labels",
        why="Each logit is compared with the token it has just read. The loss falls to 0 at once, and the model "
        "learns to repeat its input.",
        look_for="F.cross_entropy(logits.view(-1, V), labels.view(-1)) with labels = input_ids",
        fix="F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()). If the caller shifts, name the "
        "argument 'targets', or say --shifted True.",
        is_arithmetic=False,
    ),
    "double_shifted_labels": Bug(
        title="labels shifted twice",
        why="The data loader has already shifted the targets, and the loss shifts them again: the model learns to "
        "predict the token after the next, and its samples skip every second letter.",
        look_for="logits[:, :-1] and targets[:, 1:] in a model whose targets are x[1:] already",
        fix="shift once: F.cross_entropy(logits.flatten(0, 1), targets.flatten()). If the argument takes unshifted "
        "tokens, name it 'labels', or say --shifted False.",
        is_arithmetic=False,
    ),
    "loss_counts_padding": Bug(
        title="the loss counts padding",
        why="Padding is easy to predict: the mean falls with the amount of padding, and short sequences teach the "
        "model to write padding.",
        look_for="F.cross_entropy(logits, targets) without ignore_index, or a masked loss with .mean() over all",
        fix="F.cross_entropy(…, ignore_index=pad_id), or set padded targets to -100",
        is_arithmetic=False,
    ),
    "gradient_cut": Bug(
        title="gradient cut off",
        why="The output is detached from the parameters: nothing is learnt.",
        look_for=".detach(), .data, .item(), torch.no_grad() or torch.tensor(x) inside forward",
        fix="compute on the tensors themselves",
        is_arithmetic=False,
    ),
}
