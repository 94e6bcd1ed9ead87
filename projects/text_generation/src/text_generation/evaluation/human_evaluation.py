"""Blind pairwise evaluation by people: `text-generation rate` and `text-generation votes`.

A study is made from texts of two or more systems for the same prompts (`rating/study.py`), raters vote in the terminal
or on a web page (`rating/terminal.py`, `rating/web.py`), and the votes are analysed (`rating/analysis.py`).
"""

import sys
from pathlib import Path

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.sockets import listen
from text_generation.config.rating import RateConfig, VotesConfig
from text_generation.evaluation.rating.analysis import VoteAnalysis, analyse
from text_generation.evaluation.rating.making import Draft, Output, make_study, read_outputs, write_study
from text_generation.evaluation.rating.report import lines, votes_section
from text_generation.evaluation.rating.study import Study, key_path, read_key, read_study, votes_path
from text_generation.evaluation.rating.terminal import rate_in_terminal
from text_generation.evaluation.rating.votes import VoteBook, rater_name, read_votes
from text_generation.terminal_text import told

__all__ = [
    "Draft",
    "Output",
    "Study",
    "VoteAnalysis",
    "analyse",
    "make_study",
    "run_rate",
    "run_votes",
    "votes_section",
    "write_study",
]

_GRACE_SECONDS = 1  # an open page holds a connection


def run_rate(config: RateConfig) -> None:
    """Make the study if asked to, then rate it.

    Raises:
        UserError: a file cannot be used, or the page cannot be served.
    """
    votes = _votes_file(config)
    if config.outputs is not None:
        _make(config)
    study = read_study(config.study)
    book = VoteBook(study, votes)
    for line in told(book.rejects):
        print(line, file=sys.stderr)
    if config.web:
        _serve(book, config)
        return
    rater = rater_name(config.rater or _ask_name())
    print(f"{study.name}: {len(study.items)} pairs of texts. Votes go to {book.path}")
    rate_in_terminal(book, rater, input, print)


def run_votes(config: VotesConfig) -> None:
    """Print what the votes say, and write the page if asked to.

    Raises:
        UserError: a file cannot be used, or there are no votes to compare the systems by.
    """
    study = read_study(config.study)
    key = read_key(config.key or key_path(config.study), study)
    paths = config.votes or (votes_path(config.study),)
    found = read_votes(paths, study)
    for line in told(found.rejects):
        print(line, file=sys.stderr)
    try:
        analysis = analyse(study, key, found, power=config.power, n_resamples=config.n_resamples, seed=config.seed)
    except UserError as error:
        raise UserError(f"{', '.join(map(str, paths))}: {error}") from None
    print("\n".join(lines(analysis)))
    if config.report is not None:
        _write_report(analysis, config.report, config.study)


def _votes_file(config: RateConfig) -> Path:
    """Where votes go: a file of their own, for they would spoil the others."""
    votes = config.votes or votes_path(config.study)
    for path in (config.study, key_path(config.study), config.outputs):
        if path is not None and votes.absolute() == path.absolute():
            raise UserError(f"--votes {votes}: votes would be added to {path.name}. Name a file of their own.")
    return votes


def _make(config: RateConfig) -> None:
    assert config.outputs is not None
    outputs, rejects = read_outputs(config.outputs)
    for line in told(rejects):
        print(line, file=sys.stderr)
    draft = make_study(
        config.study.stem,
        outputs,
        question=config.question,
        style=config.style,
        max_items=config.max_items,
        seed=config.seed,
    )
    write_study(draft, config.study)
    same = f"; {draft.n_identical} pairs of equal texts left out" if draft.n_identical else ""
    print(
        f"{config.study}: {len(draft.study.items)} items of {len(draft.key.systems)} systems{same}. Who wrote what is "
        f"in {key_path(config.study)}: keep it from the raters"
    )


def _ask_name() -> str:
    try:
        return input("your name: ")
    except EOFError:
        return ""


def _serve(book: VoteBook, config: RateConfig) -> None:
    try:
        import uvicorn

        from text_generation.evaluation.rating.web import create_rating_app
    except ImportError as error:
        raise UserError(f'{error.name}: not installed. Run: pip install "roadmap-text-generation[demo]"') from error
    with listen(config.host, config.port) as listener:
        app = create_rating_app(book)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS)
        )
        host = "127.0.0.1" if config.host == "0.0.0.0" else config.host
        shown = f"[{host}]" if ":" in host else host
        print(f"{book.study.name}: http://{shown}:{listener.getsockname()[1]}  (Ctrl-C stops it)", flush=True)
        print(f"votes go to {book.path}", flush=True)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # how uvicorn ends once it has shut down
            print("stopped")


def _write_report(analysis: VoteAnalysis, path: Path, study: Path) -> None:
    from roadmap_shared.report import Report, render

    report = Report(
        title=f"Votes on {analysis.study.name}",
        project="text_generation",
        command=f"text-generation votes {study}",
        facts={"study": analysis.study.fingerprint, "raters": len(analysis.raters), "votes": analysis.n_votes},
        sections=[votes_section(analysis)],
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, render(report))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    print(f"report: {path}")
