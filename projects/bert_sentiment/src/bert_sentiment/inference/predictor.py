"""Labels for texts: a trained classifier with calibrated probabilities and the right to be unsure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.data.preprocessor import clean
from bert_sentiment.data.types import MAX_CHARACTERS
from bert_sentiment.inference.model_folders import model_folder
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.devices import find_device
from bert_sentiment.models.method_files import load_method
from roadmap_shared.errors import UserError

UNSURE = "unsure"


@dataclass(frozen=True)
class Prediction:
    """What the classifier says about one text."""

    label: str
    """The most probable label, or `unsure` where its probability is below the threshold."""

    probability: float
    """Calibrated probability of the most probable label."""

    probabilities: dict[str, float]
    """Of every label, in the order of the classifier; they add up to 1."""

    @property
    def best(self) -> str:
        """The most probable label, whether the answer is sure or not."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Predictor:
    """A classifier in use. `folder` is where it was read from, None for one in memory alone."""

    model: SentimentModel
    unsure_below: float = 0.0
    folder: Path | None = None

    def __post_init__(self) -> None:
        if len(self.model.labels) < 2:
            place = "the model" if self.folder is None else self.folder
            raise UserError(f"{place}: has one output and not a label for each class: use a classifier")

    @classmethod
    def find(cls, model: str, root: Path, device: str = "auto", *, unsure_below: float = 0.0) -> "Predictor":
        """Load the classifier that `model` names.

        Args:
            model: `latest`, a run folder or its name, or a model folder.
            root: folder that holds the runs; a relative one is looked for upwards too.
            device: `auto` for a GPU where there is one, or what PyTorch calls a device.
            unsure_below: probability of the best label below which the answer is `unsure`.

        Raises:
            UserError: there is no such model, or it is damaged or no classifier.
        """
        folder = model_folder(model, root)
        return cls(load_method(folder, device=find_device(device)), unsure_below, folder)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.labels

    def predict(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        """Predictions in the order of the texts; which texts share a batch changes none of them.

        Batches are formed by length, so that little is spent on padding.

        Raises:
            UserError: a text is empty or too long, or the GPU's memory does not hold a batch.
        """
        for number, text in enumerate(texts, 1):
            if reason := unusable(text, self.model.preprocessing):
                raise UserError(f"text {number} of {len(texts)}: {reason}")
        try:
            rows = self.model.probabilities(texts, batch_size)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU's memory does not hold {batch_size} texts: use a smaller --batch_size, or --device cpu"
            ) from error
        return [self._decide(row.tolist()) for row in rows]

    def _decide(self, row: list[float]) -> Prediction:
        probability = max(row)
        best = self.labels[row.index(probability)]
        return Prediction(
            label=UNSURE if probability < self.unsure_below else best,
            probability=probability,
            probabilities=dict(zip(self.labels, row, strict=True)),
        )

    def fingerprint(self) -> str:
        """sha256 of all that a prediction depends on: weights, tokenizer, preparation of texts, temperature."""
        model = self.model
        digest = hashlib.sha256()
        for name, tensor in sorted(model.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        tokenizer = sorted(model.tokenizer.get_vocab().items()) if backend is None else backend.to_str()
        # What transformers adds by itself, such as its version or the folder's name, changes no prediction.
        architecture = {name: value for name, value in model.network.config.to_dict().items() if name[0] != "_"}
        architecture.pop("transformers_version", None)
        rest = [architecture, tokenizer, asdict(model.preprocessing), model.temperature]
        digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def unusable(text: str, preprocessing: PreprocessingConfig) -> str | None:
    """Why a text cannot be labelled, or None."""
    if len(text) > MAX_CHARACTERS:
        return f"has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "holds a broken character (half of a surrogate pair, or bytes that are not UTF-8)"
    if not text.strip():
        return "is empty"
    if not clean(text, preprocessing):
        return "is empty once markup is taken away"
    return None
