"""Where a trained model lies: `latest`, a run, or a model folder."""

from pathlib import Path

from bert_sentiment.models.bert_classifier import EXTRAS_FILE
from bert_sentiment.models.method_files import METHOD_FILE
from bert_sentiment.run_layout import MODEL, PROJECT
from roadmap_shared.errors import UserError, did_you_mean

_TRAIN = "Train one with `bert-sentiment run`, name its folder with --model, or the folder of the runs with --root"


def model_folder(model: str, root: Path) -> Path:
    """The folder that `--model` names.

    Args:
        model: `latest`, a run folder, the name of a run below `root`, or a model folder.
        root: folder of the runs, see `runs_folder`.

    Raises:
        UserError: there is no such model.
    """
    runs = runs_folder(root) / PROJECT
    if model == "latest":
        return _latest(runs)
    for folder in (Path(model), runs / model):
        if folder.is_dir():
            return _inside(folder)
    if Path(model).is_file():
        raise UserError(f"--model {model}: is a file: name the folder that holds it")
    known = [folder.name for folder in _runs_with_model(runs)]
    there = f"Runs with a model in {runs}: {', '.join(known[-5:])}" if known else f"There is no run in {runs}"
    raise UserError(f"--model {model}: there is no such folder. {did_you_mean(model, ['latest', *known]) or there}")


def runs_folder(root: Path) -> Path:
    """Where the runs are. A relative folder is looked for here, then upwards, then in the checkout whose code runs:
    a command that was trained in the checkout finds its model when it is started elsewhere."""
    if root.is_absolute():
        return root
    here = Path.cwd()
    checkout = Path(__file__).resolve().parents[5]
    for place in (here, *here.parents, checkout):
        if (place / root / PROJECT).is_dir():
            return root if place == here else place / root
    return root


def _latest(runs: Path) -> Path:
    """The model of the run that the link `latest` names, or of the newest run that has one: the latest may still be
    training, or belong to a command that keeps no model."""
    if _has_model(runs / "latest"):
        return runs / (runs / "latest").resolve().name / MODEL
    found = _runs_with_model(runs)
    if not found:
        raise UserError(f"{runs}: holds no run with a model. {_TRAIN}")
    return found[-1] / MODEL


def _runs_with_model(runs: Path) -> list[Path]:
    """Runs that hold a whole model, oldest first: a run's name begins with its time."""
    return sorted(folder for folder in runs.glob("*") if not folder.is_symlink() and _has_model(folder))


def _has_model(run: Path) -> bool:
    # The file that is written last: a model that is being saved does not count.
    return (run / MODEL / EXTRAS_FILE).is_file() or (run / MODEL / METHOD_FILE).is_file()


def _inside(folder: Path) -> Path:
    for place in (folder / MODEL, folder):
        if (place / "config.json").is_file() or (place / METHOD_FILE).is_file():
            return place
    if (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: is a run without a model: it has not ended, or its command keeps none. {_TRAIN}")
    raise UserError(f"{folder}: is neither a model folder (no config.json in it) nor a run. {_TRAIN}")
