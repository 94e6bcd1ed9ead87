"""A run: its folder, seed, trackers and final figures.

`runs/<project>/<UTC time>-<name>/` holds `config.yaml`, `metrics.jsonl`, `summary.json`, `report.html`,
`figures/` and `checkpoints/`; the link `latest` beside the run folders names the newest. It is set when a run
starts, not when it ends, so that `--run.resume latest` finds a run that was killed.

```python
def run(config: LMConfig) -> dict[str, Any]:
    with start_run(config, project="transformer_from_scratch", command="run") as run:
        ...
        return run.finish(scores, report_html)
```
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from roadmap_shared.config import config_differences, load_config
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.ranks import is_main_process
from roadmap_shared.run import Run, RunnableConfig
from roadmap_shared.run_folders import (
    CONFIG_FILE,
    cannot_write,
    discard,
    find_run,
    latest_run,
    new_folder,
    point_latest_at,
)

__all__ = ["Run", "RunnableConfig", "atomic_write", "latest_run", "start_run"]


@contextmanager
def start_run(
    config: RunnableConfig, *, project: str, command: str, resumable_changes: Sequence[str] = ()
) -> Iterator[Run]:
    """Open a run folder, seed everything and start the trackers; close them at the end, come what may.

    `random`, and NumPy and torch if they are imported by now, are seeded with `config.run.seed`, the same on
    every rank.

    Args:
        config: the project's config.
        project: name of the project, the folder below `config.run.root`.
        command: name of the subcommand.
        resumable_changes: dotted settings that may differ from those of the run that is resumed, besides
            `run.name`, `run.root` and `tracking.*`: `("trainer.max_steps",)`.

    Raises:
        UserError: the folder cannot be made, there is no run to resume, the resumed run had another config,
            or a tracker does not start.

    A new run that ends in a UserError before it has logged or saved anything, as for data that cannot be read,
    leaves nothing behind.
    """
    parent = config.run.root / project
    if config.run.resume is None:
        folder = new_folder(parent, config.run.name) if is_main_process() else None
    else:
        folder = find_run(config.run.resume, project, config.run.root, command)
        _check_same_config(config, folder, resumable_changes)
    run = Run(config, project, command, folder, resumed=config.run.resume is not None)
    latest_before = None
    if run.is_main:
        try:
            run.open()
            latest_before = point_latest_at(run.folder)
        except BaseException as error:
            run.close()
            if not run.resumed:
                discard(run.folder, latest_before)
            if isinstance(error, OSError):
                raise cannot_write(run.folder, error) from error
            raise
    _seed_everything(run.seed)
    came_to_nothing = False
    try:
        yield run
    except UserError:
        came_to_nothing = run.is_main and not run.resumed and run.is_empty()
        raise
    finally:
        run.close()
        if came_to_nothing:
            discard(run.folder, latest_before)


def _check_same_config(config: RunnableConfig, folder: Path, allowed: Sequence[str]) -> None:
    stored = load_config(type(config), folder / CONFIG_FILE)
    differences = [
        difference
        for difference in config_differences(stored, config)
        if not difference.startswith(
            ("run.name", "run.root", "run.resume", "tracking.", *(f"{name}: " for name in allowed))
        )
    ]
    if differences:
        raise UserError(
            f"--run.resume {folder}: that run had other settings: {'; '.join(differences)}. "
            f"Resume with --config {folder / CONFIG_FILE}, or start a new run."
        )


def _seed_everything(seed: int) -> None:
    """Seed the generators of the libraries that are in use: importing torch to seed it would cost seconds."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
