"""All studies of a run, one after another."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress
from text_generation.config.evaluation import StudyName
from text_generation.studies.coding import code
from text_generation.studies.prompting import injection, templates, voting
from text_generation.studies.search import search
from text_generation.studies.stories import alignment, writing
from text_generation.studies.structure import json_output, python_output
from text_generation.studies.types import Bench, Study

STUDIES: Mapping[StudyName, Callable[[Bench], Study]] = {
    "templates": templates,
    "search": search,
    "voting": voting,
    "injection": injection,
    "json": json_output,
    "python": python_output,
    "code": code,
    "writing": writing,
    "alignment": alignment,
}
"""In the order of the report."""


@dataclass(frozen=True)
class Finished:
    """A study that was tried."""

    name: StudyName
    seconds: float
    study: Study | None
    why_not: str = ""
    """Where there is no study: what the model or the corpus lacks."""


def run_studies(bench: Bench) -> list[Finished]:
    """Those that the config names. One that fails on this model, corpus or system is told, and the others go on: what
    was measured before is not lost."""
    finished: list[Finished] = []
    chosen: list[StudyName] = [name for name in STUDIES if name in bench.sizes.studies]
    for name in progress(chosen, "studies", "study"):
        started = time.perf_counter()
        try:
            study, why_not = STUDIES[name](bench), ""
        except UserError as error:
            study, why_not = None, str(error)
        finished.append(Finished(name, time.perf_counter() - started, study, why_not))
    return finished
