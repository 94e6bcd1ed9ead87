"""When to say that the documents do not hold the answer.

A logistic regression over `refusal_features` gives the probability that they do. It is fitted on questions with their
passages (answerable) and on the same questions with the passage of the answer removed from the index (not answerable),
and made a probability by Platt's (1999) scaling on folds that were held out. To predict only above a threshold is
El-Yaniv & Wiener's (2010) "On the Foundations of Noise-free Selective Classification"; for question answering see
Kamath, Jia & Liang (2020), "Selective Question Answering under Domain Shift".
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rag_qa.generation.evidence import Evidence
from rag_qa.generation.logistic_regression import Logistic, fit_logistic, sigmoid
from rag_qa.generation.refusal_features import NAMES, refusal_features
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.metrics import roc_auc

FEWEST = 10
"""Examples of each kind that a calibration takes."""

FOLDS = 5


@dataclass(frozen=True)
class CalibrationExample:
    """One question with what was retrieved for it."""

    evidence: Evidence
    answerable: bool
    """Whether the retrieved passages hold the answer."""

    group: str = ""
    """Examples of one group, such as one question with and without its passage, stay in one fold."""


@dataclass(frozen=True)
class Calibrator:
    """Evidence to the probability that it holds the answer."""

    model: Logistic
    slope: float
    intercept: float
    """Platt: p = sigmoid(slope · logit + intercept)."""

    n_examples: int
    auroc: float
    """On folds that were held out of the fit."""

    origin: str = ""
    """What it was fitted on."""

    def probability(self, evidence: Evidence) -> float:
        """Probability in [0, 1] that the passages hold the answer; 0 where there are none."""
        if not evidence.sentences:
            return 0.0
        return float(self.probabilities(refusal_features(evidence)[None, :])[0])

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, n_features) -> (N,)."""
        return sigmoid(self.slope * self.model.logits(features) + self.intercept)

    @classmethod
    def fit(cls, examples: Sequence[CalibrationExample], l2: float = 1.0, origin: str = "") -> "Calibrator":
        """Fit on examples of both kinds; the probability is that of a question which is as likely answerable as not.

        Raises:
            UserError: fewer than 10 examples of a kind.
        """
        n_yes = sum(example.answerable for example in examples)
        n_no = len(examples) - n_yes
        if min(n_yes, n_no) < FEWEST:
            raise UserError(
                f"refusal cannot be calibrated on {n_yes} answerable and {n_no} unanswerable questions: "
                f"at least {FEWEST} of each are needed. Give more questions with their passages, or more documents."
            )
        features = np.array([refusal_features(example.evidence) for example in examples])
        answerable = np.array([example.answerable for example in examples])
        return cls.fit_features(features, answerable, [example.group for example in examples], l2, origin)

    @classmethod
    def fit_features(
        cls, features: np.ndarray, answerable: np.ndarray, groups: Sequence[str], l2: float = 1.0, origin: str = ""
    ) -> "Calibrator":
        """`fit` on (N, n_features) and (N,) directly."""
        folds = folds_of(groups)
        held_out = np.zeros(len(features))
        for fold in range(FOLDS):
            inside = folds == fold
            if inside.any() and len(set(answerable[~inside])) == 2:
                held_out[inside] = fit_logistic(features[~inside], answerable[~inside], l2).logits(features[inside])
        # The slope of the held-out logits: those of the training rows are too sure.
        slope, intercept = _platt(held_out, answerable)
        model = fit_logistic(features, answerable, l2)
        return cls(model, slope, intercept, len(features), float(roc_auc(held_out, answerable)), origin)

    def recalibrated(self, examples: Sequence[CalibrationExample]) -> "Calibrator":
        """The same order of questions, with probabilities that are right for these examples.

        A fit on texts of several kinds is right on average, and may be too low for one kind and too high for another.
        """
        features = np.array([refusal_features(example.evidence) for example in examples])
        answerable = np.array([example.answerable for example in examples])
        slope, intercept = _platt(self.model.logits(features), answerable)
        return replace(self, slope=slope, intercept=intercept)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        content = {
            "kind": "refusal",
            "origin": self.origin,
            "n_examples": self.n_examples,
            "auroc": round(self.auroc, 4),
            "features": list(NAMES),
            "mean": [round(float(x), 6) for x in self.model.mean],
            "scale": [round(float(x), 6) for x in self.model.scale],
            "weights": [round(float(x), 6) for x in self.model.weights],
            "bias": round(self.model.bias, 6),
            "slope": round(self.slope, 6),
            "intercept": round(self.intercept, 6),
        }
        atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Calibrator":
        """Read what `save` wrote.

        Raises:
            UserError: no such file, no JSON of this kind, or of other features than this version computes.
        """
        again = "Calibrate again: `rag-qa calibrate`."
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if tuple(content["features"]) != NAMES:
                raise UserError(f"{path} was made for other features than this version computes. {again}")
            mean, scale, weights = (np.array(content[name], dtype=np.float64) for name in ("mean", "scale", "weights"))
            if any(array.shape != (len(NAMES),) or not np.isfinite(array).all() for array in (mean, scale, weights)):
                raise ValueError("shape")
            model = Logistic(mean, scale, weights, float(content["bias"]))
            n_examples, auroc = int(content["n_examples"]), float(content["auroc"])
            return cls(
                model, float(content["slope"]), float(content["intercept"]), n_examples, auroc, str(content["origin"])
            )
        except FileNotFoundError:
            raise UserError(f"{path}: no such calibration of refusal. {again}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}. {again}") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path} holds no calibration of refusal. {again}") from error


def _platt(logits: np.ndarray, answerable: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of Platt's scaling, for even odds.

    How many of the examples are answerable says how they were made, not what users ask (Saerens, Latinne & Decaestecker
    2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities").
    """
    platt = fit_logistic(logits[:, None], answerable, 1e-3)
    slope = float(platt.weights[0] / platt.scale[0])
    intercept = float(platt.bias - platt.weights[0] * platt.mean[0] / platt.scale[0])
    return slope, intercept - float(np.log(answerable.sum() / (~answerable).sum()))


def folds_of(groups: Sequence[str]) -> np.ndarray:
    """A fold for each example; a group's examples share one, examples without a group are dealt in turn."""
    number: dict[str, int] = {}
    keys = [group or f"#{i}" for i, group in enumerate(groups)]
    for key in keys:
        number.setdefault(key, len(number) % FOLDS)
    return np.array([number[key] for key in keys])
