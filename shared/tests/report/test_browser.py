"""The report in a browser: nothing is fetched, nothing overflows a phone, figures follow the theme."""

import shutil
from pathlib import Path

import pytest

from roadmap_shared.report import (
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
    figure_style,
    figure_svg,
    render,
)

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from matplotlib.figure import Figure as MatplotlibFigure

    with figure_style():
        figure = MatplotlibFigure(figsize=(9, 3))
        figure.subplots().plot([3, 1, 2], label="loss")
    long = "x" * 300
    blocks = [
        Text(f"A word of 300 letters: {long}"),
        KeyFigures([KeyFigure("a", 1.0), KeyFigure("b", "123,456,789 tokens"), KeyFigure(long, 2)]),
        Table([f"column {i}" for i in range(15)], [[i * 1000 for i in range(15)]], caption="Wide."),
        Figure(figure_svg(figure), caption="Curve."),
        Figure(figure_svg(figure), caption="The same again."),
        Sample("\n" + long, label="sample"),
        Code(long),
        Callout(long, "tip"),
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    report = Report(
        title="Report",
        project="project",
        command=f"make project-1 {long}",
        facts={"seed": 0, "folder": long},
        sections=[Section(f"Section {i}", blocks) for i in range(3)],
    )
    path.write_text(render(report), encoding="utf-8")
    return path


def open_page(browser, path: Path, width: int, scheme: str):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    return page


@pytest.mark.parametrize("width", [360, 400, 800, 1400])
def test_only_the_containers_scroll_sideways(browser, report_file: Path, width: int) -> None:
    page = open_page(browser, report_file, width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.context.close()


def test_wide_figure_scrolls_in_its_container_on_a_phone(browser, report_file: Path) -> None:
    page = open_page(browser, report_file, 400, "light")
    inner, outer = page.evaluate("(e => [e.scrollWidth, e.clientWidth])(document.querySelector('.picture .scroll'))")
    assert inner == 648  # 9 inches at three quarters of 96 pixels
    assert outer < 400
    page.context.close()


def test_first_line_break_of_a_sample_is_kept(browser, report_file: Path) -> None:
    page = open_page(browser, report_file, 1400, "light")
    assert page.evaluate("document.querySelector('.sample pre').textContent")[:2] == "\nx"
    page.context.close()


@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(29, 32, 38)"), ("dark", "rgb(228, 230, 234)")])
def test_page_and_figure_follow_the_theme(browser, report_file: Path, scheme: str, ink: str) -> None:
    page = open_page(browser, report_file, 1400, scheme)
    assert page.evaluate("getComputedStyle(document.body).color") == ink
    label = "[...document.querySelectorAll('svg text')].at(-1)"
    assert page.evaluate(f"getComputedStyle({label}).fill") == ink
    series = page.evaluate("getComputedStyle(document.querySelector('svg path[style*=series-1]')).stroke")
    assert series == {"light": "rgb(47, 99, 217)", "dark": "rgb(108, 152, 255)"}[scheme]
    page.context.close()
