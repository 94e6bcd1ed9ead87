"""Where the model lies that `--backend.model latest` names: the one that `text-generation run` trained or used last."""

from pathlib import Path

from roadmap_shared.errors import UserError
from text_generation.run_layout import MODELS, PROJECT

LATEST = "latest"


def model_source(name: str, runs: Path = Path("runs"), flag: str = "--backend.model") -> str:
    """Folder or hub id of a model; `latest` is looked for in `runs`, here, then upwards, then in the checkout whose
    code runs: a model that was trained in the checkout is found from elsewhere. `flag` is the setting that names the
    model, for the message.

    Raises:
        UserError: no model has been trained yet.
    """
    if name != LATEST:
        return name
    here = Path.cwd()
    for place in (here, *here.parents, Path(__file__).resolve().parents[5]):
        found = [path.parent for path in (place / runs / PROJECT / MODELS).glob("[!.]*/config.json")]
        if found:
            return str(max(found, key=lambda folder: folder.stat().st_mtime))
    raise UserError(
        f"{flag} latest: no model has been trained here yet. Train one with `text-generation run`, or name a folder or "
        "a hub id such as gpt2"
    )
