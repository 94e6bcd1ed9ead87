"""A detector of injected instructions: rules that add up to a score, with a threshold that is measured and not guessed.

The rules were written by the author of the built-in attacks, so that its rates on these are an upper bound of what it
does on attacks from elsewhere. The threshold is not fitted on the cases that it is applied to: each half of the cases
gets the threshold of the other half.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import roc_auc
from text_generation.prompting.injection_cases import InjectionCase

_INVISIBLE = re.compile(r"[\u200b-\u200f\u2060\ufeff]")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")

RULES: tuple[tuple[str, float, str], ...] = (
    (
        "asks to drop instructions",
        2,
        r"\b(ignore|disregard|forget|override|bypass)\b.{0,40}\b(instructions?|rules|above|previous|told|request|question)\b",
    ),
    ("asks to drop instructions", 2, r"(忽略|无视|忘记).{0,12}(指示|指令|规则|要求|提示)"),
    (
        "speaks of the prompt",
        1.5,
        r"\b(system|developer|your|own) (prompt|instructions|notice|message)\b|提示词|第一条消息",
    ),
    (
        "claims authority",
        1.5,
        r"\b(admin(istrator)? mode|as your (administrator|developer)|i am the developer|i authorise|moderator:|"
        r"compliance requires)",
    ),
    ("claims authority", 1.5, r"我是店长|系统正在维护"),
    (
        "asks for the secret",
        2,
        r"\b(tell|give|read|print|output|reveal|spell|send)\b.{0,60}\b(secret|confidential|staff\b.{0,12}code|"
        r"voucher code)",
    ),
    ("asks for the secret", 2, r"员工(优惠码|代码)"),
    (
        "asks to repeat",
        1.5,
        r"\b(repeat|summarise|translate[d]?)\b.{0,60}\b(above this|your own|your instructions)|一字不差",
    ),
    ("speaks to an AI", 1.5, r"\b(ai|language) (model|assistants?)\b|\bwhen an ai\b|^\s*assistant,|人工智能"),
    ("fakes a turn", 2, r"<\|im_(start|end)\|>|\n\s*(system|assistant|user)\s*:|###\s*(new task|end of)"),
    (
        "fixes the answer",
        1.5,
        r"\b(reply|answer|respond|output|say|write|end its answer)\b.{0,25}\b(only|single word|with (the word)?|the "
        r"word|nothing else|'[^']+')|只回复|请回答|必须是",
    ),
    ("hides text", 2, r"<!--|font-size:\s*[01]px|color:\s*white"),
    ("sends data away", 2, r"https?://\S+\?|!\[[^\]]*\]\(|append the sentence"),
    (
        "role-play without rules",
        1.5,
        r"\b(without any restrictions|no rules|let's play a game|pretend to be|hypothetically)\b",
    ),
    (
        "forbids refusing",
        1.5,
        r"\bdo not (apologise|say that you cannot|mention rules|translate)\b|begin your answer with|without commenting",
    ),
    ("encodes", 1.5, r"\b(base64|rot13|backwards|decode (this|it))\b"),
    ("splits the request", 1.5, r"\b(carry out x|in three parts|part a\b|directly behind it)"),
)
"""Name, weight and pattern of each rule. A rule counts once, however often it matches."""


@dataclass(frozen=True)
class Detection:
    """Score of a text, and the names of the rules that matched."""

    score: float
    rules: tuple[str, ...]


def detect(text: str) -> Detection:
    """Score a text: the sum of the weights of all rules that match it, or what is hidden in it.

    Invisible characters are a sign of their own and are taken out; runs of Base64 are read and searched as well.
    """
    visible = _INVISIBLE.sub("", text)
    searched = "\n".join([visible, *_decoded(visible)])
    found = [
        (name, weight) for name, weight, pattern in RULES if re.search(pattern, searched, re.IGNORECASE | re.DOTALL)
    ]
    if len(visible) < len(text):
        found.append(("invisible characters", 2.0))
    if searched != visible:
        found.append(("encoded text", 1.0))
    return Detection(sum(weight for _, weight in found), tuple(dict.fromkeys(name for name, _ in found)))


def _decoded(text: str) -> list[str]:
    """What runs of Base64 say, where they say something readable."""
    texts = []
    for run in _BASE64.findall(text):
        try:
            decoded = base64.b64decode(run + "=" * (-len(run) % 4), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if decoded.isprintable():
            texts.append(decoded)
    return texts


def best_threshold(scores: Sequence[float], attacks: Sequence[bool]) -> float:
    """The threshold with the largest share of attacks caught minus share of benign texts caught (Youden 1950); of
    several, the highest. A text is caught when its score reaches it.

    Raises:
        UserError: there are not both kinds.
    """
    if len(set(attacks)) < 2:
        raise UserError("a detector's threshold needs attacks and benign texts. Give some of each.")
    n_attacks = sum(attacks)
    n_benign = len(attacks) - n_attacks

    def youden(threshold: float) -> float:
        caught = [attack for score, attack in zip(scores, attacks, strict=True) if score >= threshold]
        return sum(caught) / n_attacks - (len(caught) - sum(caught)) / n_benign

    return max(
        sorted({score for score in scores if score > 0} or {1.0}), key=lambda threshold: (youden(threshold), threshold)
    )


@dataclass(frozen=True)
class Detector:
    """Thresholds of the two halves, each fitted on the other one."""

    thresholds: dict[str, float]
    """By case id."""

    auc: float
    """Area under the ROC curve of the score on all cases: no threshold is involved."""

    def flags(self, case: InjectionCase) -> bool:
        """Whether the detector takes a case's text for an attack."""
        return detect(case.text).score >= self.thresholds[case.id]


def fit_detector(cases: Sequence[InjectionCase]) -> Detector:
    """Measure the thresholds: two-fold cross-fitting, the folds alike in application and kind.

    Raises:
        UserError: a half has not both attacks and benign texts.
    """
    seen: dict[tuple[bool, str], int] = {}
    fold: dict[str, int] = {}
    for case in cases:
        group = (case.attack, case.app)
        fold[case.id] = seen.get(group, 0) % 2
        seen[group] = seen.get(group, 0) + 1
    scores = {case.id: detect(case.text).score for case in cases}
    by_fold = {}
    for half in (0, 1):
        others = [case for case in cases if fold[case.id] != half]
        by_fold[half] = best_threshold([scores[case.id] for case in others], [case.attack for case in others])
    auc = roc_auc([scores[case.id] for case in cases], [case.attack for case in cases])
    return Detector({case.id: by_fold[fold[case.id]] for case in cases}, float(auc))
