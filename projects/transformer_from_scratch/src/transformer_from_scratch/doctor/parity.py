"""Which recipe gives the target's own numbers? The right one, or one with a known bug, or two.

Grey box: the projections are found in the module, everything between them is computed by each recipe and compared.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from transformer_from_scratch.doctor.checks import Check, failed, noted, passed, skipped
from transformer_from_scratch.doctor.measuring import relative_error, shown
from transformer_from_scratch.doctor.naming import constructor_role
from transformer_from_scratch.doctor.projections import Projections, find_projections
from transformer_from_scratch.doctor.recipes import Recipe, attend, bug_changes, causal_pattern, changed

_EXACT = 1e-13
"""Relative error in float64 that leaves no room for a better recipe."""


@dataclass(frozen=True)
class Case:
    """One call of the target: (B, T, C) inputs, the mask it was given, and its output (B, Tq, C)."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    allowed: Tensor | None = None
    """(B, Tq, Tk) True = may attend, as handed over."""

    causal: bool = False
    """Whether the target was asked to mask the future by itself."""


@dataclass(frozen=True)
class Match:
    """A recipe that gives the target's numbers."""

    recipe: Recipe
    bugs: tuple[str, ...]
    error: float
    n_heads: int


@dataclass(frozen=True, kw_only=True)
class Search:
    """Looks for the recipe behind some calls of one attention module or function."""

    candidates: Sequence[Projections]
    """The projections, in each way that they may be meant."""

    cases: Sequence[Case]
    heads: Sequence[int]
    """Numbers of heads to try."""

    tolerance: float
    """Largest relative error that counts as equal."""

    output_is_elsewhere: bool = False
    """Whether the output projection may belong to the module around it, as in BERT."""

    is_order_free: bool = False
    """Whether shuffled tokens are known to give shuffled outputs: no positions, no causal mask."""

    is_causal: bool = False
    """Whether it is known to see the past only, without being given a mask."""

    def run(self, *, known_bugs: bool = True) -> Match | None:
        """The right recipe if it fits; else, with `known_bugs`, the best with one bug; else with two."""
        with torch.no_grad():
            settings = [
                _Setting(projections, n_heads, self)
                for projections, n_heads in itertools.product(self.candidates, self.heads)
            ]
            for n_bugs in range(3 if known_bugs else 1):
                for setting in settings:
                    match = setting.best(self._recipes(setting.projections, n_bugs))
                    if match is not None:
                        return match
        return None

    def _recipes(self, projections: Projections, n_bugs: int) -> Iterator[tuple[Recipe, tuple[str, ...]]]:
        """Every way to be right, or wrong with so many known bugs, and the bugs."""
        causal = (False,) if self.is_order_free else (True,) if self.is_causal else (False, True)
        rotary = ("none",) if self.is_order_free or projections.is_identity else ("none", "neighbours", "halves")
        if n_bugs == 0:
            for norm, turn, mask, layout in itertools.product((False, True), rotary, causal, _layouts(projections)):
                yield Recipe(qk_norm=norm, rotary=turn, always_causal=mask, **layout), ()
            return
        # The usual styles only, and fewer for two bugs: it is a search over all their pairs.
        layouts = ("qkv h d", "h qkv d") if projections.is_fused and n_bugs == 1 else ("qkv h d",)
        fills = (-torch.inf, -1e9) if n_bugs == 1 else (-torch.inf,)
        for turn, mask, layout, fill in itertools.product(rotary if n_bugs == 1 else ("none",), causal, layouts, fills):
            style = Recipe(rotary=turn, always_causal=mask, layout=layout, fill=fill)
            for combination in itertools.combinations(self._bugs(projections, is_masked=mask), n_bugs):
                # What a masked score becomes shows only where the softmax runs over another axis.
                if fill != -torch.inf and not any("axis" in fields for _, fields in combination):
                    continue
                recipe = _with_bugs(style, [fields for _, fields in combination])
                if recipe is not None:
                    yield recipe, tuple(name for name, _ in combination)

    def _bugs(self, projections: Projections, *, is_masked: bool) -> list[tuple[str, dict[str, Any]]]:
        """The known bugs that these cases can show."""
        bugs = bug_changes(has_projections=not projections.is_identity)
        if is_masked or any(case.causal or case.allowed is not None for case in self.cases):
            return list(bugs)
        return [
            (name, fields) for name, fields in bugs if not fields.keys() <= {"masking", "fill", "inverted", "causal"}
        ]


class _Setting:
    """The cases, projected once, and compared with one recipe after another."""

    def __init__(self, projections: Projections, n_heads: int, search: Search) -> None:
        self.projections, self.n_heads = projections, n_heads
        self.cases, self.tolerance = search.cases, search.tolerance
        self.raw = [projections.project(case.query, case.key, case.value) for case in search.cases]
        self.limits = [2 * search.tolerance * _spread(case.output) for case in search.cases]
        has_output = projections.is_identity or projections.has_output or search.output_is_elsewhere
        self.lacks_output = n_heads > 1 and not has_output

    def best(self, recipes: Iterable[tuple[Recipe, tuple[str, ...]]]) -> Match | None:
        """The recipe with the smallest error within the tolerance; of equally good ones the first."""
        best: Match | None = None
        for recipe, bugs in recipes:
            error = self.error(recipe)
            # A third: rounding decides nothing.
            if error <= self.tolerance and (best is None or error < best.error / 3):
                best = Match(recipe, bugs, error, self.n_heads)
                if not bugs or error < _EXACT:
                    return self._with_missing_output(best)
        return None if best is None else self._with_missing_output(best)

    def error(self, recipe: Recipe) -> float:
        """Largest relative error over the cases; stops at the first that does not fit."""
        worst = 0.0
        for case, raw, limit in zip(self.cases, self.raw, self.limits, strict=True):
            worst = max(worst, self._case_error(case, raw, recipe, limit))
            if worst > self.tolerance:
                break
        return worst

    def _case_error(self, case: Case, raw: dict[str, Tensor], recipe: Recipe, limit: float) -> float:
        width = case.query.shape[-1]
        heads = self.projections.heads(raw, self.n_heads, width, recipe)
        if heads is None or (recipe.rotary != "none" and heads[0].shape[-1] % 2):
            return float("inf")
        allowed = _effective(case, recipe)
        expected = self.projections.finish(attend(heads[0], heads[1], heads[2], allowed, recipe, width), recipe)
        if expected is None or expected.shape != case.output.shape:
            return float("inf")
        output = case.output
        if allowed is not None:
            # What a query sees that may attend to nothing is anybody's choice.
            defined = (~allowed if recipe.inverted else allowed).any(dim=-1)  # (B, Tq)
            output, expected = output[defined], expected[defined]
        # Nearly all recipes fail this test, which is cheaper than the exact error.
        if not torch.allclose(output, expected, rtol=0, atol=limit, equal_nan=True):
            return float("inf")
        return relative_error(output, expected)

    def _with_missing_output(self, match: Match) -> Match:
        return replace(match, bugs=(*match.bugs, "missing_output_projection")) if self.lacks_output else match


def _spread(output: Tensor) -> float:
    finite = output[output.isfinite()]
    return finite.std(correction=0).item() if finite.numel() else 0.0


def _effective(case: Case, recipe: Recipe) -> Tensor | None:
    if not (recipe.always_causal or case.causal):
        return case.allowed
    batch, n_queries, n_keys = case.query.shape[0], case.query.shape[1], case.key.shape[1]
    pattern = causal_pattern(recipe.causal, n_queries, n_keys).expand(batch, n_queries, n_keys)
    return pattern if case.allowed is None else pattern & case.allowed


def _layouts(projections: Projections) -> list[dict[str, Any]]:
    """Orders of axes and roles in the projections; all of them are right."""
    orders = list(itertools.permutations(range(3)))
    if projections.is_fused:
        usual = [{"layout": layout, "order": order} for layout in ("qkv h d", "h qkv d") for order in orders]
        return [*usual, *({"layout": layout} for layout in ("h d qkv", "qkv d h", "d qkv h", "d h qkv"))]
    if projections.is_identity:
        return [{}]
    possible = [(0, 1, 2)] if projections.named else orders
    return [{"features": features, "order": order} for features in ("h d", "d h") for order in possible]


def _with_bugs(style: Recipe, changes: Sequence[dict[str, Any]]) -> Recipe | None:
    """The recipe with all these fields; None where one makes no difference, or two change the same field."""
    recipe: Recipe | None = style
    for fields in changes:
        recipe = None if recipe is None else changed(recipe, fields)
    names = [name for fields in changes for name in fields]
    return recipe if len(set(names)) == len(names) else None


def head_counts(module: nn.Module, known: int | None, width: int) -> list[int]:
    """Numbers of heads to try: the one that is known, those that the module's attributes name, else all divisors."""
    if known is not None:
        return [known]
    named = [
        value
        for name, value in vars(module).items()
        if type(value) is int and constructor_role(name) == "heads" and value > 0 and width % value == 0
    ]
    lists = [len(child) for child in module.children() if isinstance(child, nn.ModuleList)]
    return list(dict.fromkeys([*named, *lists])) or [n for n in range(1, min(width, 16) + 1) if width % n == 0]


def projections_of(module: nn.Module | None) -> list[Projections]:
    """The projections of a module; for a function of query, key and value (None) the identity."""
    return [Projections({}, is_identity=True)] if module is None else find_projections(module)


def parity_check(name: str, search: Search) -> tuple[Check, Match | None]:
    """Compare some calls of an attention with every recipe."""
    if not search.candidates:
        return skipped(name, "no query, key and value projections found by name"), None
    match = search.run()
    if match is None:
        return noted(name, "equals no known recipe, right or wrong; only the other checks speak"), None
    if match.bugs:
        text = f"equals a reference with this bug to {shown(match.error)}; {_difference(match.recipe)}"
        return failed(name, text, *match.bugs, proven=True), match
    return passed(name, f"equals the float64 reference to {shown(match.error)} ({_style(match)})"), match


def _difference(recipe: Recipe) -> str:
    """The fields of a buggy recipe that differ from the right one."""
    right = Recipe()
    styles = ("layout", "order", "features", "always_causal", "rotary", "qk_norm")
    texts = [
        f"{name} = {value} (right: {getattr(right, name)})"
        for name, value in vars(recipe).items()
        if name not in styles and value != getattr(right, name) and not (name == "fill" and value == -1e9)
    ]
    return ", ".join(texts).replace("_", " ") or "no output projection (right: one, of all heads together)"


def _style(match: Match) -> str:
    parts = [f"{match.n_heads} heads" if match.n_heads > 1 else "1 head", f"scale {match.recipe.scale}"]
    parts += ["causal by itself"] if match.recipe.always_causal else []
    parts += [f"rotary on {match.recipe.rotary}"] if match.recipe.rotary != "none" else []
    parts += ["query and key norm"] if match.recipe.qk_norm else []
    return ", ".join(parts)
