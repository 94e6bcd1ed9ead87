"""Temperature scaling against an exhaustive search and against logits whose temperature is known."""

import math

import numpy as np
import pytest

from bert_sentiment.evaluation.calibration import RANGE, fit_temperature, golden_section
from bert_sentiment.models.bert_classifier import softmax
from roadmap_shared.metrics import expected_calibration_error, negative_log_likelihood


def drawn(n: int, seed: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from softmax(logits); the logits are then made `sharpness` times as sharp."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=1.5, size=(n, 3))
    targets = np.array([generator.choice(3, p=row) for row in softmax(logits)])
    return logits * sharpness, targets


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_logits_too_sharp(sharpness):
    logits, targets = drawn(20_000, 1, sharpness)
    temperature = fit_temperature(logits, targets.tolist())
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert expected_calibration_error(softmax(logits / temperature), targets) < 0.02


def test_no_temperature_of_a_fine_grid_is_better():
    logits, targets = drawn(300, 2, 2.5)
    fitted = negative_log_likelihood(softmax(logits / fit_temperature(logits, targets.tolist())), targets)
    grid = np.exp(np.linspace(math.log(RANGE[0]), math.log(RANGE[1]), 400))
    assert fitted <= min(negative_log_likelihood(softmax(logits / value), targets) for value in grid) + 1e-9


def test_decisions_stay_as_they_are():
    logits, targets = drawn(200, 3, 2.0)
    scaled = softmax(logits / fit_temperature(logits, targets.tolist()))
    assert np.array_equal(scaled.argmax(axis=1), logits.argmax(axis=1))


def test_texts_that_are_all_right_or_all_wrong_stay_within_the_range():
    logits = np.eye(3) * 5
    sure, unsure = fit_temperature(logits, [0, 1, 2]), fit_temperature(logits, [1, 2, 0])
    assert RANGE[0] <= sure < 0.2
    assert unsure == pytest.approx(RANGE[1], rel=1e-3)


def test_no_texts_are_refused():
    with pytest.raises(ValueError, match=r"^a temperature cannot be fitted to no texts$"):
        fit_temperature(np.zeros((0, 3)), [])


def test_golden_section_finds_the_bottom_of_a_valley():
    assert golden_section(lambda x: (x - 0.3) ** 2, -2, 5) == pytest.approx(0.3, abs=1e-3)
    assert golden_section(lambda x: x, 1, 2) == pytest.approx(1, abs=1e-3)
    assert golden_section(lambda x: -x, 1, 2) == pytest.approx(2, abs=1e-3)
