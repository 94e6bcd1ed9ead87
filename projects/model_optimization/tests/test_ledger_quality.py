"""Flips, behaviour and quality against what is counted by hand."""

import numpy as np
import pytest

from model_optimization.ledger.behaviour import CAPABILITIES, behaviour_study, pairs_of, polarity_of
from model_optimization.ledger.flips import flip_study
from model_optimization.ledger.quality import measure_quality
from model_optimization.softmax import softmax
from model_optimization.types import Texts
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier

LABELS = ("negative", "positive")


def logits_for(probabilities: list[float]) -> np.ndarray:
    """(N, 2) logits whose softmax gives the second label these probabilities."""
    p = np.array(probabilities, dtype=np.float32)
    return np.stack([np.log(1 - p), np.log(p)], axis=1)


class TestFlips:
    def test_counted_by_hand(self) -> None:
        part = Texts(texts=("a", "b", "c", "d"), targets=np.array([1, 0, 1, 0]))
        before = logits_for([0.9, 0.2, 0.4, 0.3])  # right, right, wrong, right
        after = logits_for([0.8, 0.6, 0.7, 0.1])  # right, wrong, right, right
        study = flip_study(part, LABELS, before, after)
        assert study.share.estimate == 0.5
        assert (study.harmful, study.helpful) == (1, 1)
        # "b" was given with .8 and .6, "c" with .6 and .7: equally sure, so they keep their order.
        assert [(flip.text, flip.target, flip.before, flip.after) for flip in study.flips] == [
            ("b", "negative", "negative", "positive"),
            ("c", "positive", "negative", "positive"),
        ]
        assert study.flips[0].confidence_before == pytest.approx(0.8)
        assert study.flips[0].confidence_after == pytest.approx(0.6)

    def test_surest_first(self) -> None:
        part = Texts(texts=("a", "b", "c"), targets=np.array([1, 1, 1]))
        study = flip_study(part, LABELS, logits_for([0.55, 0.99, 0.7]), logits_for([0.1, 0.02, 0.3]))
        assert [flip.text for flip in study.flips] == ["b", "c", "a"]
        assert study.harmful == 3

    def test_neither_harmful_nor_helpful(self) -> None:
        part = Texts(texts=("a",), targets=np.array([2]))
        study = flip_study(part, ("x", "y", "z"), np.array([[2.0, 1, 0]]), np.array([[1.0, 2, 0]]))
        assert (study.share.estimate, study.harmful, study.helpful) == (1.0, 0, 0)

    def test_logits_of_other_texts(self) -> None:
        part = Texts(texts=("a", "b"), targets=np.array([0, 1]))
        with pytest.raises(ValueError, match=r"logits of \(3, 2\) and \(3, 2\) do not belong to 2 texts"):
            flip_study(part, LABELS, np.zeros((3, 2)), np.zeros((3, 2)))


class TestBehaviour:
    @pytest.mark.parametrize("capability", CAPABILITIES)
    def test_authored_pairs(self, capability: str) -> None:
        pairs = pairs_of(capability)
        texts = [text for pair in pairs for text in pair.texts]
        assert len(pairs) >= 15
        assert len(set(texts)) == len(texts)
        assert {label for pair in pairs for label in pair.expect} == {"negative", "positive"}
        for pair in pairs:
            assert pair.stronger == (capability == "intensifiers")
            assert (pair.expect[0] == pair.expect[1]) == (capability == "intensifiers")

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (("NEGATIVE", "POSITIVE"), {"negative": 0, "positive": 1}),
            (("pos", "neutral", "neg"), {"negative": 2, "positive": 0}),
            (("0", "1"), None),
            (("positive", "positively odd", "negative"), None),
        ],
    )
    def test_labels(self, labels: tuple[str, ...], expected: dict[str, int] | None) -> None:
        assert polarity_of(labels) == expected

    def test_other_labels_are_not_judged(self) -> None:
        assert behaviour_study(lambda texts: np.zeros((len(texts), 2)), ("sports", "politics")) is None

    def test_one_who_knows_the_answers_passes(self) -> None:
        known = {
            text: label
            for name in CAPABILITIES
            for pair in pairs_of(name)
            for text, label in zip(pair.texts, pair.expect, strict=True)
        }
        study = behaviour_study(
            lambda texts: logits_for([0.9 if known[t] == "positive" else 0.1 for t in texts]), LABELS
        )
        assert study is not None
        assert [(one.name, one.passed.estimate, one.failures) for one in study] == [
            (name, 1.0, ()) for name in CAPABILITIES
        ]

    def test_one_who_always_says_positive(self) -> None:
        study = behaviour_study(lambda texts: logits_for([0.9] * len(texts)), LABELS)
        assert study is not None
        by_name = {one.name: one for one in study}
        assert by_name["negation"].passed.estimate == 0
        assert by_name["intensifiers"].passed.estimate == 0.5
        assert by_name["negation"].failures[0] == ("The film is funny. → positive / The film is not funny. → positive")

    def test_a_stronger_text_must_not_be_less_sure(self) -> None:
        pairs = pairs_of("intensifiers")
        sure = [0.95 if label == "positive" else 0.05 for pair in pairs for label in pair.expect]
        sure[1] = 0.84  # "extremely good" after 0.95 for "good"
        sure[3] = 0.86  # within the tolerance

        def logits_of(texts: object) -> np.ndarray:
            assert isinstance(texts, list)
            return logits_for(sure) if texts[0] == pairs[0].texts[0] else logits_for([0.5] * len(texts))

        study = behaviour_study(logits_of, LABELS)
        assert study is not None
        (intensifiers,) = (one for one in study if one.name == "intensifiers")
        assert intensifiers.failures == ("The film was good. → 0.95 / The film was extremely good. → 0.84",)


class TestQuality:
    def test_the_original_and_a_changed_copy(self) -> None:
        classifier = tiny_classifier()
        logits = classifier.logits(TEXTS)
        targets = logits.argmax(1)
        targets[0] = 1 - targets[0]
        part = Texts(texts=TEXTS, targets=targets)
        original = measure_quality(classifier, part)
        assert original.accuracy.estimate == pytest.approx(7 / 8)
        assert original.against_original is None
        assert original.flips is None
        assert original.behaviour is not None
        assert original.behaviour_share == pytest.approx(np.mean([one.passed.estimate for one in original.behaviour]))

        turned = original.logits.copy()
        turned[:2] = turned[:2, ::-1]  # as if the first two texts had had the other label
        changed = measure_quality(classifier, part, turned)
        assert changed.flips is not None
        assert [flip.text for flip in sorted(changed.flips.flips, key=lambda flip: flip.text)] == [TEXTS[0], TEXTS[1]]
        assert changed.against_original is not None
        assert changed.against_original.difference == pytest.approx(0)

    def test_numbers_that_are_none(self) -> None:
        classifier = tiny_classifier()
        classifier.network.classifier.bias.data[0] = float("nan")
        part = Texts(texts=TEXTS, targets=np.zeros(len(TEXTS), dtype=np.int64))
        with pytest.raises(UserError, match=r"^its logits are not finite"):
            measure_quality(classifier, part)


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])), [[0.5, 0.5], [0.25, 0.75]])
