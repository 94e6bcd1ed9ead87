"""The models that can be compared: the runs that have one, each loaded when it is first asked for."""

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from bert_sentiment.app.shared import SharedPredictor
from bert_sentiment.inference.model_folders import runs_folder
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models.bert_classifier import EXTRAS_FILE
from bert_sentiment.run_layout import MODEL, PROJECT
from roadmap_shared.errors import UserError

MODELS_KEPT = 2


def runs_with_model(root: Path) -> dict[str, Path]:
    """Name and folder of each run that holds a whole model, the newest first."""
    # The file that is written last: a model that is being saved does not count.
    places = (runs_folder(root) / PROJECT).glob(f"*/{MODEL}/{EXTRAS_FILE}")
    folders = (place.parents[1] for place in places if not place.parents[1].is_symlink())
    return {folder.name: folder for folder in sorted(folders, reverse=True)}


class Models:
    """Second models by name. A name is all that the page can give: it is looked up, never used as a path."""

    def __init__(self, first: SharedPredictor, root: Path, compare: str | None = None, device: str = "auto") -> None:
        """`compare` is a model as the command line names it; it is loaded at once.

        Raises:
            UserError: there is no such model, or it is damaged.
        """
        self.first, self.root, self.device = first, root, device
        self.given = None if compare is None else self._find(compare)
        self._loaded: OrderedDict[str, SharedPredictor] = OrderedDict()
        self._loading = Lock()

    def names(self) -> list[str]:
        """The model that the command line gave, then the runs with a model, the newest first; not the first model."""
        given = [] if self.given is None else [self.given.name]
        return list(dict.fromkeys([*given, *(name for name in runs_with_model(self.root) if name != self.first.name)]))

    def load(self, name: str) -> SharedPredictor:
        """The model of that name; the last few stay loaded.

        Raises:
            UserError: it is gone, or damaged.
        """
        if self.given is not None and name == self.given.name:
            return self.given
        folder = runs_with_model(self.root).get(name)
        if folder is None:
            raise UserError("That run has no model any more: reload the page.")
        with self._loading:
            if name not in self._loaded:
                try:
                    self._loaded[name] = self._find(str(folder))
                except UserError as error:
                    raise UserError(str(error).replace(str(folder), name)) from error
            self._loaded.move_to_end(name)
            if len(self._loaded) > MODELS_KEPT:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def _find(self, name: str) -> SharedPredictor:
        found = Predictor.find(name, self.root, self.device, unsure_below=self.first.unsure_below)
        return SharedPredictor.of(found)
