import gzip
import math

import numpy as np
import pytest

from roadmap_shared.metrics import bits_per_byte, bits_per_character, perplexity, token_accuracy


def test_perplexity_of_a_uniform_model_is_the_vocabulary_size() -> None:
    assert perplexity(math.log(65)) == pytest.approx(65)


def test_perplexity_of_a_diverged_model_is_infinite() -> None:
    assert perplexity(1e4) == math.inf


def test_bits_per_character_of_a_uniform_model_is_the_log2_of_its_vocabulary() -> None:
    assert bits_per_character(math.log(256)) == pytest.approx(8)


def test_bits_per_byte_of_a_uniform_model_over_bytes_is_8_whatever_the_text() -> None:
    text = "naïve 漢字 🙂"
    n_bytes = len(text.encode())
    assert n_bytes > len(text)
    assert bits_per_byte(n_bytes * math.log(256), n_bytes) == pytest.approx(8)


def test_bits_per_byte_is_the_size_of_the_text_under_an_ideal_code() -> None:
    text = b"aab" * 300
    nats = -(600 * math.log(2 / 3) + 300 * math.log(1 / 3))
    entropy = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert bits_per_byte(nats, len(text)) == pytest.approx(entropy)
    # A compressor that sees the period does better than this model of independent bytes.
    assert 8 * len(gzip.compress(text)) / len(text) < entropy


def test_token_accuracy_leaves_ignored_targets_out() -> None:
    predictions = np.array([[1, 2, 3], [4, 5, 6]])
    targets = np.array([[1, 2, 9], [-100, 5, -100]])
    assert token_accuracy(predictions, targets) == pytest.approx(3 / 4)
    assert token_accuracy([0, 0, 1], [0, 1, 1], ignore_index=0) == pytest.approx(1 / 2)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="at least one byte, got 0"):
        bits_per_byte(1.0, 0)
    with pytest.raises(ValueError, match=r"predictions \(2,\) and targets \(3,\) must have the same shape"):
        token_accuracy([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"all 2 are ignore_index \(-100\)"):
        token_accuracy([1, 2], [-100, -100])
