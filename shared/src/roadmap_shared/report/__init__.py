"""A run's report: building blocks, one self-contained HTML page, figures that fit light and dark pages.

with figure_style():
    figure = matplotlib.figure.Figure(figsize=(7.2, 3.6))
    figure.subplots().plot(steps, losses)
report = Report(
    title="Character language model",
    project="transformer_from_scratch",
    command="make project-1",
    lead=[KeyFigures([KeyFigure("validation loss", loss_interval, unit="nats per character")])],
    sections=[Section("Training", [Figure(figure, "Loss on both splits.", alt="Both curves fall.")])],
)
html = render(report)
"""

from roadmap_shared.report.blocks import (
    Block,
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Sample,
    Section,
    Table,
    Text,
)
from roadmap_shared.report.figures import INK, PALETTE, figure_png, figure_style, figure_svg
from roadmap_shared.report.formatting import format_interval, format_number
from roadmap_shared.report.gallery import render_gallery
from roadmap_shared.report.render import render

__all__ = [
    "INK",
    "PALETTE",
    "Block",
    "Callout",
    "Code",
    "Figure",
    "KeyFigure",
    "KeyFigures",
    "Report",
    "Sample",
    "Section",
    "Table",
    "Text",
    "figure_png",
    "figure_style",
    "figure_svg",
    "format_interval",
    "format_number",
    "render",
    "render_gallery",
]
