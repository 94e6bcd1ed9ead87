"""One way to call any model: (B, T) tokens in, (B, T, F) outputs out; F is the vocabulary where they are logits.

Knows `forward(tokens)`, `forward(tokens, targets) -> (logits, loss)` (nanoGPT, which gives the last logits only when
there are no targets), outputs with `.logits` and `.loss` (Hugging Face), logits flattened to (B·T, V), encoder-decoders
with two inputs, and a separate `loss` method.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from roadmap_shared.errors import UserError
from transformer_from_scratch.doctor.loading import UnreadableOutput, where
from transformer_from_scratch.doctor.masks import MaskForm, ProbedMask, probe
from transformer_from_scratch.doctor.measuring import tensors_in, tolerance_of
from transformer_from_scratch.doctor.naming import forward_role, usual_meaning

BATCH, TOKENS = 3, 7
_LOSS_METHODS = ("loss", "compute_loss", "get_loss", "calculate_loss")
_TARGET_NAMES = ("targets", "target", "labels", "label", "y")


class ModelSubject:
    """A target, seen as a model on tokens.

    Args:
        name: how messages call it.
        module: the model in evaluation mode.
        vocabulary: number of token ids.
        context: longest sequence.
        mask_means: what True means in a mask, if the learner has said so.

    Raises:
        UserError: an argument of `forward` is required and unknown, or calling it fails.
    """

    def __init__(
        self, name: str, module: nn.Module, *, vocabulary: int, context: int, mask_means: str | None = None
    ) -> None:
        self.name, self.module, self.mask_means = name, module, mask_means
        self.vocabulary, self.context = vocabulary, context
        self.n_tokens = min(TOKENS, context)
        parameters = inspect.signature(module.forward).parameters
        self.parameters = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        self.tokens, self.source = self._inputs()
        self.targets = next((n for n in self.parameters if n in _TARGET_NAMES and n not in self._taken), None)
        self.mask: ProbedMask | None = None
        self._defaults = self._required_defaults()
        self.dtype = torch.float32
        self.time_first = False
        self.is_pooled = False
        """Whether there is one output a sequence, as of a classifier."""

    @property
    def _taken(self) -> tuple[str | None, ...]:
        return (self.tokens, self.source)

    @property
    def tolerance(self) -> float:
        """Largest relative error that counts as equal."""
        return tolerance_of(self.dtype)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> argument of `forward`."""
        return {role: name for name in self.parameters if (role := forward_role(name)) is not None}

    @property
    def mask_arguments(self) -> list[str]:
        return [name for name in self.parameters if forward_role(name) == "mask"]

    def _is_required(self, name: str) -> bool:
        return self.parameters[name].default is inspect.Parameter.empty

    def _inputs(self) -> tuple[str, str | None]:
        """The argument of the tokens, and that of an encoder-decoder's source."""
        inputs = [n for n in self.parameters if forward_role(n) == "input"]
        required = [n for n in inputs if self._is_required(n)]
        if len(required) >= 2:
            return required[1], required[0]
        if inputs:
            return inputs[0], None
        first = next((n for n in self.parameters if self._is_required(n)), None)
        if first is None:
            raise UserError(f"{self.name}.forward takes no tokens: its arguments are {', '.join(self.parameters)}")
        return first, None

    def _required_defaults(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in self.parameters:
            role = forward_role(name)
            if name in self._taken or not self._is_required(name) or name == self.targets:
                continue
            if role not in ("mask", "offset", "cache", "use_cache", "causal"):
                raise UserError(
                    f"{self.name}.forward needs '{name}', which the doctor does not know: give it a default value"
                )
            values[name] = {"offset": 0, "causal": True, "use_cache": False}.get(role)
        return values

    def random(self, seed: int = 0) -> Tensor:
        """(B, T) tokens; none is 0, which may stand for padding."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(1, self.vocabulary, (BATCH, self.n_tokens), generator=generator)

    def other(self) -> Tensor:
        """(B, T) tokens that differ from `random()` everywhere."""
        return self.random() % (self.vocabulary - 1) + 1

    def arguments(self, tokens: Tensor) -> dict[str, Any]:
        """The arguments of `forward` for (B, T) tokens, targets left out where they may be."""
        arguments, tokens = dict(self._defaults), tokens.contiguous()
        arguments[self.tokens] = tokens.T if self.time_first else tokens
        if self.source is not None:
            source = self.random(seed=9)[: tokens.shape[0], : self.n_tokens - 1]
            arguments[self.source] = source.T if self.time_first else source
        if self.targets is not None and self._is_required(self.targets):
            arguments[self.targets] = tokens
        return arguments

    def __call__(self, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(B, T) tokens, and (B, Tq, Tk) which of them are no padding -> (B, T, F), or (B, 1, F) from a classifier."""
        arguments = self.arguments(tokens)
        if allowed is not None:
            assert self.mask is not None  # only asked where there is one
            arguments[self.mask.form.argument] = self.mask.form.express(allowed, 1)
        output = self.pick(self.module(**arguments), tokens)
        if output.shape[1] == tokens.shape[1] or self.targets is None:
            return output
        arguments[self.targets] = tokens  # the loss needs them all
        return self.pick(self.module(**arguments), tokens)

    def pick(self, result: Any, tokens: Tensor) -> Tensor:
        """The outputs (B, T, F) in what `forward` returned; (B, 1, F) where only the last were computed."""
        batch, n_tokens = tokens.shape
        found = tensors_in(result)
        for tensor in found:
            if tensor.dim() == 3 and self.time_first and tensor.shape[:2] == (n_tokens, batch):
                return tensor.transpose(0, 1)
            if tensor.dim() == 3 and tensor.shape[0] == batch and tensor.shape[1] == n_tokens:
                return tensor
        for tensor in found:
            if tensor.dim() == 2 and tensor.shape[0] == batch * n_tokens:
                return tensor.unflatten(0, (batch, n_tokens))
            if tensor.dim() == 3 and tensor.shape[:2] == (batch, 1) and self.targets is not None:
                return tensor
            if tensor.dim() == 2 and tensor.shape[0] == batch:
                return tensor[:, None]
        shapes = [tuple(tensor.shape) for tensor in found]
        raise UnreadableOutput(
            f"outputs of shape {shapes or type(result).__name__} for tokens {tuple(tokens.shape)}: "
            "the doctor looks for (B, T, features) or (B, features)"
        )

    def loss_of(self, tokens: Tensor, targets: Tensor) -> float | None:
        """The model's own loss of (B, T) tokens and targets; None if it computes none."""
        method = next((getattr(self.module, n) for n in _LOSS_METHODS if callable(getattr(self.module, n, None))), None)
        if self.targets is not None:
            result = self.module(**self.arguments(tokens) | {self.targets: targets})
        elif method is not None and len(_required_of(method)) == 2:
            result = method(tokens, targets)
        else:
            return None
        loss = getattr(result, "loss", None)
        scalars = [loss] if isinstance(loss, Tensor) else [t for t in tensors_in(result) if t.dim() == 0]
        return scalars[0].item() if scalars else None

    def loss_argument(self) -> str | None:
        """The argument that takes the targets, of `forward` or of a `loss` method."""
        if self.targets is not None:
            return self.targets
        method = next((getattr(self.module, n) for n in _LOSS_METHODS if callable(getattr(self.module, n, None))), None)
        return None if method is None or len(_required_of(method)) != 2 else _required_of(method)[1]

    def influence(self, *, allowed: Tensor | None = None) -> Tensor:
        """(T, T): how much output i depends on token j of the first sequence, rounding set to 0.

        All rows are the same where there is one output a sequence.
        """
        tokens, other = self.random(), self.other()
        before = self(tokens, allowed)
        finite = before[before.isfinite()]
        spread = finite.std(correction=0).item() + 1e-12 if finite.numel() else 1.0
        columns = []
        for token in range(self.n_tokens):
            changed = tokens.clone()
            changed[0, token] = other[0, token]
            difference = (self(changed, allowed)[0] - before[0]).abs().nan_to_num(0.0, 0.0)
            columns.append(difference.amax(dim=-1) / spread)
        influence = torch.stack(columns, dim=1).expand(self.n_tokens, self.n_tokens)
        return influence.masked_fill(influence < self.tolerance / 100, 0.0)

    def prepare(self) -> None:
        """Choose the numbers' type and the layout, and find out how masks work.

        Raises:
            UserError: the model cannot be called.
        """
        error: Exception | None = None
        for dtype in (torch.float64, torch.float32):
            self.module.to(dtype)
            torch.set_default_dtype(dtype)
            self.dtype = dtype
            try:
                self(self.random())
                error = None
                break
            except Exception as problem:
                error = error or problem
        if error is not None:
            raise UserError(
                f"calling {self.name}.forward on tokens of shape {(BATCH, self.n_tokens)} failed: {where(error)}. "
                "Name its sizes with --arguments name=value"
            ) from error
        self._choose_layout()
        self.is_pooled = self(self.random()).shape[1] != self.n_tokens
        for argument in self.mask_arguments:
            meaning = self.mask_means or usual_meaning(argument) or "attend"
            self.mask = probe(argument, self._measure, self.n_tokens, meaning, has_heads=False, keys_only=True)
            if self.mask is not None:
                break

    def _choose_layout(self) -> None:
        """Time first only where that makes the sequences of a batch independent, and batch first does not."""
        if self._rows_are_independent():
            return
        self.time_first = True
        try:
            if self._rows_are_independent():
                return
        except Exception:
            pass
        self.time_first = False

    def _rows_are_independent(self) -> bool:
        tokens = self.random()
        changed = torch.cat((tokens[:1], self.other()[1:2], tokens[2:]))
        # The last row too: where the rows are tokens of a causal model, the first sees none of the others.
        difference = (self(changed) - self(tokens))[[0, -1]].abs().nan_to_num()
        return difference.max().item() <= self.tolerance

    def _measure(self, form: MaskForm | None, allowed: Tensor) -> Tensor | None:
        self.mask = None if form is None else ProbedMask(form, "")
        try:
            return self.influence(allowed=None if form is None else allowed)
        except Exception:
            return None


def _required_of(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters
    return [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
