"""The microscope's view: one self-contained HTML page that needs no network, and no script to be read."""

import json
import math
from dataclasses import fields
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from text_generation.config.decoding import DecodingConfig
from text_generation.decoding.beam_picture import beam_picture
from text_generation.decoding.microscope import Microscope

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 900, 190, 44, 22
"""Of the chart, in the units of its SVG."""


def render_page(microscope: Microscope) -> str:
    """The page as text. Everything that comes from the model or the user is escaped."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("text_generation.decoding", "templates"), PackageLoader("roadmap_shared", "templates")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "percent": percent, "tint": tint}
    page = environment.get_template("microscope.html.j2").render(
        m=microscope,
        settings=_settings(microscope.decoding),
        chart=kept_chart(microscope),
        picture=beam_picture(microscope),
        perplexity=_perplexity(microscope),
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in a prompt cannot be written to a file


def visible(token: str) -> str:
    """A token with its white space shown: a blank as ␣, a line feed as ⏎, a tab as ⇥; nothing as ∅."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍") or "∅"


def percent(probability: float) -> str:
    """A probability with two significant digits, as a person would say it: 100 %, 12 %, 0.34 %, <0.01 %."""
    value = 100 * probability
    if value < 0.01:
        return "<0.01 %"
    if value >= 99.5:
        return "100 %" if value > 99.995 else "99+ %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"


def tint(probability: float) -> str:
    """How strongly a token is coloured, from 0 (the model was sure) to 100 (one in a thousand or less)."""
    surprise = math.log10(1 / max(probability, 1e-3)) / 3
    return f"{100 * surprise:.0f}"


def kept_chart(microscope: Microscope) -> dict[str, Any]:
    """Lines of how many tokens each filter keeps at each step, on a logarithmic scale, as SVG coordinates."""
    steps = microscope.steps
    most = max([2, *(n for step in steps for n in step.kept)])
    width, height = _WIDTH - _LEFT - 8, _HEIGHT - _BOTTOM - 8
    x = [_LEFT + width * (index + 0.5) / max(1, len(steps)) for index in range(len(steps))]

    def y(n: int) -> float:
        return 8 + height * (1 - math.log(max(n, 1)) / math.log(most))

    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000) if tick <= most]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _WIDTH - 8,
        "bottom": _HEIGHT - _BOTTOM,
        "ticks": [(tick, f"{y(tick):.1f}") for tick in ticks],
        "lines": [
            (name, " ".join(f"{at:.1f},{y(step.kept[index]):.1f}" for at, step in zip(x, steps, strict=True)))
            for index, name in enumerate(microscope.filters)
        ],
        "x": [f"{at:.1f}" for at in x],
        "step_width": f"{width / max(1, len(steps)):.2f}",
    }


def _perplexity(microscope: Microscope) -> float:
    n = microscope.generation.new_tokens
    return math.exp(-(microscope.generation.logprob or 0.0) / n) if n else math.nan


def _settings(decoding: DecodingConfig) -> str:
    """What is set otherwise than by default, and strategy and length in any case, without beam search's settings."""
    always, never = ("strategy", "max_new_tokens"), ("num_beams", "early_stopping", "length_penalty")
    shown = [
        f"{field.name} {_plain(getattr(decoding, field.name))}"
        for field in fields(decoding)
        if field.name not in never and (field.name in always or getattr(decoding, field.name) != field.default)
    ]
    return ", ".join(shown)


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple | list) else str(value)
