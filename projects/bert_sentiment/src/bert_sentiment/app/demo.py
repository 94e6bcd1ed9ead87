"""The page: try a text, label a file, compare two models, look at the last run.

Nothing on it is fetched from elsewhere: no analytics, no share link, the system's fonts.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.themes import Default

from bert_sentiment.app import markup
from bert_sentiment.app.last_run import last_run_html
from bert_sentiment.app.models import Models
from bert_sentiment.app.shared import Limits, SharedPredictor
from bert_sentiment.app.uploads import label_upload
from bert_sentiment.inference.attributions import Attribution
from bert_sentiment.inference.predictor import Prediction
from bert_sentiment.inference.tables import OUTPUT_ENDINGS
from roadmap_shared.errors import UserError

EXAMPLES = (
    "A quiet film that stays with you for days.",
    "The battery lasts, I grant that. Everything else about this phone is a daily annoyance.",
    "not gonna lie i expected worse 😅",
    "Two hours of my life, and all I got was a headache.",
)
EXAMPLE_LINES = "\n".join(EXAMPLES)
UPLOAD_LIMIT = "100mb"
SECONDS_KEPT = 3600


@dataclass(frozen=True)
class Demo:
    """What the page does, apart from how it looks: each method answers one button with HTML."""

    predictor: SharedPredictor
    models: Models
    limits: Limits = field(default_factory=Limits)
    batch_size: int = 32

    def text(self, text: str, by_line: bool, colour: bool) -> str:
        """Label what was typed."""
        try:
            texts = self._texts(text, by_line)
            predictions = self.predictor.predict(texts, self.batch_size)
            attributions = self._attributions(self.predictor, texts, predictions, colour)
        except UserError as error:
            return markup.problem(str(error))
        cards = map(markup.card, predictions, texts, attributions)
        return "".join(cards) + self._legend(attributions)

    def file(self, path: str | None, text_column: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Label an upload: what to show, and the two files to download. Gradio keeps copies of these."""
        if path is None:
            yield markup.problem("Choose a file first."), gr.update(visible=False), gr.update(visible=False)
            return
        with TemporaryDirectory() as folder:
            try:
                column = text_column.strip() or None
                result, html = label_upload(self.predictor, Path(path), Path(folder), column, self.batch_size)
            except UserError as error:
                yield markup.problem(str(error)), gr.update(visible=False), gr.update(visible=False)
                return
            rejects = None if result.rejects is None else str(result.rejects)
            yield (
                html,
                gr.update(value=str(result.output), visible=result.n_labelled > 0),
                gr.update(value=rejects, visible=rejects is not None),
            )

    def compare(self, other: str | None, text: str, by_line: bool, colour: bool) -> str:
        """Two models on the same texts: side by side, or as a table where there are many."""
        if other is None:
            return markup.problem("There is no second model. Train another one with: bert-sentiment run")
        try:
            texts = self._texts(text, by_line)
            pair = (self.predictor, self.models.load(other))
            first, second = (model.predict(texts, self.batch_size) for model in pair)
            names = [model.name for model in pair]
            if len(texts) > 1:
                return markup.comparison_table(texts, names, first, second)
            attributions = [
                self._attributions(model, texts, predictions, colour)[0]
                for model, predictions in zip(pair, (first, second), strict=True)
            ]
        except UserError as error:
            return markup.problem(str(error))
        shown = markup.side_by_side(texts[0], names, [first[0], second[0]], attributions)
        return shown + self._legend(attributions)

    def _texts(self, text: str, by_line: bool) -> list[str]:
        """The texts in the box.

        Raises:
            UserError: there is none, there are too many, or one cannot be labelled.
        """
        lines = [line for line in text.splitlines() if line.strip()] if by_line else [text]
        if not text.strip():
            raise UserError("Type a text first.")
        if len(lines) > self.limits.max_texts:
            raise UserError(
                f"{len(lines):,} lines are too many for this box, which takes {self.limits.max_texts:,}: "
                "put them into a file and use the File tab."
            )
        for number, line in enumerate(lines, 1):
            if problem := self.predictor.problem(line, self.limits.max_characters):
                raise UserError(f"{f'Line {number}' if by_line else 'The text'} {problem}.")
        return lines

    def _attributions(
        self, predictor: SharedPredictor, texts: list[str], predictions: list[Prediction], colour: bool
    ) -> list[Attribution | None]:
        """The first texts explained; colouring all of a long list would take minutes."""
        n = self.limits.max_explained if colour else 0
        explained = map(predictor.explain, texts[:n], (prediction.best for prediction in predictions[:n]))
        return [*explained, *[None] * (len(texts) - n)][: len(texts)]

    def _legend(self, attributions: list[Attribution | None]) -> str:
        n = sum(attribution is not None for attribution in attributions)
        if not n:
            return ""
        rest = markup.note(f"The words of the first {n} texts are coloured.") if n < len(attributions) else ""
        return markup.LEGEND + rest


def mount_demo(app: FastAPI, demo: Demo) -> FastAPI:
    """Put the page at `/` of the API's app; the API's own paths go before it."""
    font = ["system-ui", "sans-serif"]
    mono = ["ui-monospace", "monospace"]

    async def mount() -> FastAPI:
        return gr.mount_gradio_app(
            app,
            build_page(demo),
            path="/",
            theme=Default(primary_hue="blue", secondary_hue="blue", font=font, font_mono=mono),
            css=(files("bert_sentiment.app") / "demo.css").read_text(encoding="utf-8"),
            footer_links=[],
            run_history=False,
            show_error=False,
            max_file_size=UPLOAD_LIMIT,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
        )

    # Gradio makes its locks in a running event loop; without one it would open a loop for each and never close it.
    return asyncio.run(mount())


def build_page(demo: Demo) -> gr.Blocks:
    """The layout, and which button calls what."""

    def help_for(request: gr.Request) -> str:
        return _api_help(demo.limits, request)

    with gr.Blocks(title="Sentiment", analytics_enabled=False, delete_cache=(SECONDS_KEPT, SECONDS_KEPT)) as page:
        threshold = f" Below {demo.predictor.unsure_below:.0%} it says unsure." if demo.predictor.unsure_below else ""
        gr.HTML(
            f"<h1>Sentiment</h1>{markup.note(f'Model: {demo.predictor.name}.{threshold}')}",
            elem_classes="bs-title",
            apply_default_css=False,
        )
        with gr.Tab("Text"):
            _text_tab(demo)
        with gr.Tab("File"):
            _file_tab(demo)
        with gr.Tab("Compare"):
            choices = _compare_tab(demo)
        with gr.Tab("Last run") as last:
            run = _output().render()
        with gr.Tab("API") as api:
            usage = _output().render()
        last.select(lambda: last_run_html(demo.models.root), None, run, api_visibility="private")
        api.select(help_for, None, usage, api_visibility="private")
        # A run may have ended since the server was started.
        page.load(lambda chosen: _choices(demo, chosen), choices, choices, api_visibility="private")
    return page


def _text_tab(demo: Demo) -> None:
    text, by_line, colour, button = _inputs("Label the text")
    output = _output()
    gr.Examples(
        [[example, False] for example in EXAMPLES] + [[EXAMPLE_LINES, True]],
        [text, by_line],
        output,
        lambda text, by_line: demo.text(text, by_line, True),
        run_on_click=True,
        cache_examples=False,
        example_labels=[*EXAMPLES, "All of them, one a line"],
        api_visibility="private",
    )
    output.render()
    _on(demo.text, [text, by_line, colour], output, button, text)


def _file_tab(demo: Demo) -> None:
    endings = list(OUTPUT_ENDINGS)
    upload = gr.File(label=f"File ({', '.join(endings)})", file_types=endings)
    column = gr.Textbox(label="Text column", placeholder="found by itself where it is called text, review, tweet …")
    button = gr.Button("Label the file", variant="primary")
    with gr.Row():
        labelled = gr.DownloadButton("Download the labelled file", visible=False)
        rejects = gr.DownloadButton("Download what was left out", visible=False)
    output = _output().render()
    button.click(demo.file, [upload, column], [output, labelled, rejects], api_visibility="private")


def _compare_tab(demo: Demo) -> gr.Dropdown:
    with gr.Row():
        gr.Textbox(demo.predictor.name, label="First model", interactive=False, min_width=220)
        names = demo.models.names()
        newest = names[0] if names else None
        other = gr.Dropdown(names, value=newest, label="Second model", interactive=True, min_width=220)
    text, by_line, colour, button = _inputs("Compare")
    output = _output()
    gr.Examples(
        [[EXAMPLES[1], False], [EXAMPLE_LINES, True]],
        [text, by_line],
        cache_examples=False,
        example_labels=[EXAMPLES[1], "Four texts, one a line"],
        api_visibility="private",
    )
    output.render()
    _on(demo.compare, [other, text, by_line, colour], output, button, text)
    return other


def _inputs(action: str) -> tuple[gr.Textbox, gr.Checkbox, gr.Checkbox, gr.Button]:
    text = gr.Textbox(label="Text", lines=4, max_lines=14, placeholder="Type or paste", autofocus=True)
    with gr.Row():
        by_line = gr.Checkbox(False, label="Each line is a text of its own", min_width=200)
        colour = gr.Checkbox(True, label="Colour the words", min_width=200)
    return text, by_line, colour, gr.Button(action, variant="primary")


def _output() -> gr.HTML:
    return gr.HTML(elem_classes="bs-out", apply_default_css=False, render=False)


def _on(function: Callable[..., str], inputs: list[Any], output: gr.HTML, button: gr.Button, text: gr.Textbox) -> None:
    """The button, and Shift + Enter in the box."""
    gr.on([button.click, text.submit], function, inputs, output, api_visibility="private")


def _choices(demo: Demo, chosen: str | None) -> dict[str, Any]:
    names = demo.models.names()
    return gr.update(choices=names, value=chosen if chosen in names else next(iter(names), None))


def _api_help(limits: Limits, request: gr.Request) -> str:
    body = json.dumps({"texts": [EXAMPLES[0]], "explain": False})
    address = f"{request.url.scheme}://{request.headers.get('host', 'HOST')}"
    command = f"curl {address}/predict \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    return "".join(
        [
            "<p>The same model answers programs at this address:</p>",
            f'<pre class="bs-code">{escape(command)}</pre>',
            markup.note(
                f"At most {limits.max_texts:,} texts of at most {limits.max_characters:,} characters a request, with "
                f'"explain": true at most {limits.max_explained:,}. GET /labels and GET /health are there too.'
            ),
            '<p><a href="/openapi.json" target="_blank">openapi.json</a> describes it for machines.</p>',
        ]
    )
