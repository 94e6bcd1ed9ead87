import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bert_sentiment.evaluation.behaviour import (
    CAPABILITIES,
    Case,
    dir_fails,
    inv_fails,
    load_cases,
    mft_fails,
    run_behaviour,
)
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import wilson_interval
from roadmap_shared.offline.sentiment import all_sentiment_texts

THREE = ("negative", "neutral", "positive")
TWO = ("negative", "positive")
MFT_CAPABILITIES = {
    "vocabulary",
    "negation",
    "contrast",
    "comparison",
    "irony",
    "questions",
    "emoji",
    "temporal",
}


def case(test: str, text: str, **fields: object) -> Case:
    return Case(capability="c", test=test, kind="k", domain="films", text=text, **fields)  # type: ignore[arg-type]


def words(texts: Sequence[str]) -> np.ndarray:
    """(N, 3): negative with "bad", positive with "good", the more so with "very", neutral otherwise."""
    rows = []
    for text in texts:
        weight = 0.9 if "very" in text else 0.6
        rest = (1 - weight) / 2
        label = 0 if "bad" in text else 2 if "good" in text else 1
        rows.append([weight if index == label else rest for index in range(3)])
    return np.array(rows)


@pytest.mark.parametrize(
    ("probabilities", "expected", "fails"),
    [([0.2, 0.5, 0.3], [1], False), ([0.2, 0.5, 0.3], [2], True), ([0.2, 0.5, 0.3], [1, 2], False)],
)
def test_mft(probabilities: list[float], expected: list[int], fails: bool) -> None:
    assert mft_fails(np.array(probabilities), expected) == fails


@pytest.mark.parametrize(
    ("variants", "fails"),
    [
        ([[0.9, 0.1]], False),
        ([[0.6, 0.4], [0.55, 0.45]], False),
        # The label changes, but .52 -> .48 is the border's doing.
        ([[0.48, 0.52]], False),
        ([[0.3, 0.7]], True),
        ([[0.9, 0.1], [0.3, 0.7]], True),
    ],
)
def test_inv(variants: list[list[float]], fails: bool) -> None:
    assert inv_fails(np.array([0.52, 0.48]), np.array(variants)) == fails


@pytest.mark.parametrize(
    ("original", "changed", "direction", "fails"),
    [
        (0.8, 0.9, "not_lower", False),
        (0.8, 0.75, "not_lower", False),
        (0.8, 0.65, "not_lower", True),
        (0.8, 0.65, "not_higher", False),
        (0.8, 0.85, "not_higher", False),
        (0.8, 0.95, "not_higher", True),
    ],
)
def test_dir(original: float, changed: float, direction: str, fails: bool) -> None:
    assert dir_fails(original, changed, direction) == fails  # type: ignore[arg-type]


def test_run_by_hand() -> None:
    cases = [
        case("MFT", "a good film", expect=("positive",)),
        case("MFT", "not a good film", expect=("negative",)),
        case("MFT", "not bad", expect=("neutral", "positive")),
        case("INV", "Ann is good", variants=("Bob is good", "Cid is bad")),
        case("INV", "Ann is very good", variants=("Bob is good",)),
        case("DIR", "good", expect=("positive",), variants=("very good",)),
        case("DIR", "very good", expect=("positive",), variants=("good",), direction="not_higher"),
        case("DIR", "very good", expect=("positive",), variants=("good",)),
    ]
    result = run_behaviour(words, THREE, cases)
    assert [outcome.failed for outcome in result.outcomes] == [False, True, True, True, False, False, False, True]
    rows = {(row.capability, row.test): row for row in result.rows()}
    assert list(rows) == [("c", "MFT"), ("c", "INV"), ("c", "DIR")]
    assert (rows["c", "MFT"].n, rows["c", "MFT"].n_failed, rows["c", "MFT"].n_left_out) == (3, 2, 0)
    assert rows["c", "MFT"].failure_rate == wilson_interval(2, 3)
    failure = result.failures[0]
    assert (failure.case.text, failure.predictions[0].label) == ("not a good film", "positive")
    assert failure.predictions[0].probabilities == pytest.approx({"negative": 0.2, "neutral": 0.2, "positive": 0.6})
    assert [prediction.label for prediction in result.failures[2].predictions] == ["positive", "positive", "negative"]


def test_tolerance() -> None:
    fading = [case("DIR", "very good", expect=("positive",), variants=("good",))]  # .9 -> .6
    assert len(run_behaviour(words, THREE, fading, tolerance=0.25).failures) == 1
    assert len(run_behaviour(words, THREE, fading, tolerance=0.35).failures) == 0


def test_rows_by_kind() -> None:
    cases = [
        Case(capability="negation", test="MFT", kind=kind, domain="films", text=text, expect=("negative",))
        for kind, text in [("double", "good"), ("end", "bad"), ("double", "bad")]
    ]
    rows = run_behaviour(words, THREE, cases).rows(by_kind=True)
    assert [(row.kind, row.n, row.n_failed) for row in rows] == [("double", 2, 1), ("end", 1, 0)]


def test_cases_without_their_label_are_left_out_and_counted() -> None:
    cases = [
        case("MFT", "a film", expect=("neutral",)),
        case("MFT", "good", expect=("neutral", "Positive")),
        Case(capability="d", test="MFT", kind="k", domain="films", text="a", expect=("neutral",)),
    ]
    result = run_behaviour(lambda texts: words(texts)[:, [0, 2]], ("NEGATIVE", "POSITIVE"), cases)
    assert [(row.n, row.n_failed, row.n_left_out) for row in result.rows()] == [(1, 0, 1), (0, 0, 1)]
    assert result.rows()[1].failure_rate is None
    assert [left.text for left in result.left_out] == ["a film", "a"]
    assert result.outcomes[0].predictions[0].label == "POSITIVE"


def test_every_text_is_predicted_once_in_one_call() -> None:
    calls: list[list[str]] = []

    def predict(texts: Sequence[str]) -> np.ndarray:
        calls.append(list(texts))
        return words(texts)

    cases = [case("MFT", "good", expect=("positive",)), case("INV", "good", variants=("Good", "good!", "Good"))]
    run_behaviour(predict, THREE, cases)
    assert calls == [["good", "Good", "good!"]]
    run_behaviour(predict, THREE, [])
    assert len(calls) == 1


def test_a_predictor_of_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError) as error:
        run_behaviour(words, TWO, [case("MFT", "good", expect=("positive",))])
    assert str(error.value) == "expected probabilities of shape (1, 2), got (1, 3)"


# The authored cases


def test_every_capability_has_its_cases() -> None:
    counts = Counter((item.capability, item.test) for item in load_cases())
    assert tuple(dict.fromkeys(item.capability for item in load_cases())) == CAPABILITIES
    assert {capability for capability, test in counts if test == "MFT"} == MFT_CAPABILITIES
    for (capability, test), n in counts.items():
        enough = {"MFT": 25, "INV": 20, "DIR": 12}[test]
        assert n >= enough, (capability, test, n)


def test_every_file_is_read() -> None:
    folder = Path(load_cases.__code__.co_filename).parent / "behaviour_cases"
    assert {path.name for path in folder.iterdir()} == {f"{capability}.jsonl" for capability in CAPABILITIES}
    assert load_cases(folder) == tuple(sorted(load_cases(), key=lambda item: item.capability))


def test_cases_are_of_all_domains_and_labels() -> None:
    for capability in CAPABILITIES:
        domains = {item.domain for item in load_cases() if item.capability == capability}
        assert domains == {"films", "products", "tweets"}, capability
    assert {label for item in load_cases() for label in item.expect} == set(THREE)
    for capability in MFT_CAPABILITIES:
        labels = {label for item in load_cases() if item.capability == capability for label in item.expect}
        assert {"negative", "positive"} <= labels, capability


def test_no_case_comes_twice() -> None:
    texts = [(item.test, item.text.casefold()) for item in load_cases()]
    twice = [text for text, n in Counter(texts).items() if n > 1]
    # A text with an emoji added is watched for either label.
    assert all(test == "DIR" for test, _ in twice)
    pairs = Counter((item.test, item.texts) for item in load_cases())
    assert max(pairs.values()) == 1


def test_variants_differ_from_the_text_and_each_other() -> None:
    for item in load_cases():
        assert len(set(item.texts)) == len(item.texts), item.text


def test_cases_are_not_built_in_texts() -> None:
    built_in = {re.sub(r"\W+", " ", text.text.casefold()).strip() for text in all_sentiment_texts()}
    for item in load_cases():
        assert re.sub(r"\W+", " ", item.text.casefold()).strip() not in built_in, item.text


def test_variants_keep_the_words_where_only_form_changes() -> None:
    def letters(text: str) -> str:
        return re.sub(r"[^a-z0-9]|\band\b", "", text.casefold())

    for item in load_cases():
        if item.capability == "punctuation_case":
            assert {letters(text) for text in item.variants} == {letters(item.text)}, item.text
        if item.capability in {"neutral_filler", "emoji"}:
            longest = max(re.split(r"(?<=[.!]) ", item.text), key=len)
            assert all(longest.rstrip(".") in text for text in item.variants), item.text


def test_an_oracle_passes_and_a_constant_fails() -> None:
    """A predictor that knows each case's answer fails none; one that always says neutral fails every other MFT."""
    answers = {item.text: item.expect[0] for item in load_cases() if item.test == "MFT"}

    def oracle(texts: Sequence[str]) -> np.ndarray:
        return np.array([[float(label == answers.get(text, "neutral")) for label in THREE] for text in texts])

    mft = [item for item in load_cases() if item.test == "MFT"]
    assert run_behaviour(oracle, THREE, mft).failures == ()
    constant = run_behaviour(lambda texts: np.tile([0.0, 1.0, 0.0], (len(texts), 1)), THREE)
    failed = {outcome.case for outcome in constant.failures}
    assert failed == {item for item in mft if "neutral" not in item.expect}


def test_two_labels() -> None:
    result = run_behaviour(lambda texts: np.tile([0.0, 1.0], (len(texts), 1)), TWO)
    assert {item.expect for item in result.left_out} == {("neutral",)}
    assert len(result.outcomes) + len(result.left_out) == len(load_cases())
    rows = {(row.capability, row.test): row for row in result.rows()}
    assert rows["questions", "MFT"].n_left_out == sum(item.capability == "questions" for item in result.left_out)


# Cases of one's own


def write(folder: Path, *records: object) -> Path:
    (folder / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return folder


COMMON = {"kind": "k", "domain": "hotels", "text": "The room was clean."}


def test_own_cases(tmp_path: Path) -> None:
    folder = write(tmp_path, {"test": "MFT", "expect": ["positive"], **COMMON})
    assert load_cases(folder) == (
        Case(
            capability="own",
            test="MFT",
            kind="k",
            domain="hotels",
            text="The room was clean.",
            expect=("positive",),
        ),
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"test": "MFT", **COMMON}, "an MFT case has labels under 'expect' and no variants"),
        (
            {"test": "INV", "expect": ["positive"], "variants": ["a"], **COMMON},
            "an INV case has variants and no labels under 'expect'",
        ),
        (
            {"test": "DIR", "expect": ["positive"], "variants": ["a", "b"], **COMMON},
            "a DIR case has one label under 'expect' and one variant",
        ),
        ({"test": "XYZ", **COMMON}, "unknown test 'XYZ': write MFT, INV or DIR"),
        (
            {"test": "DIR", "expect": ["positive"], "variants": ["a"], "direction": "up", **COMMON},
            "unknown direction 'up': write not_lower or not_higher",
        ),
        ({"test": "MFT", "expect": [1], **COMMON}, "texts and labels must be strings"),
        (
            {"test": "MFT", "expect": "positive", **COMMON},
            "is no behavioural test case ('expect' must be a list)",
        ),
        (
            {"test": "MFT", "expect": ["positive"], "label": "x", **COMMON},
            "is no behavioural test case (Case.__init__() got an unexpected keyword argument 'label')",
        ),
        (7, "is no behavioural test case ('int' object is not a mapping)"),
    ],
)
def test_a_line_that_is_no_case(tmp_path: Path, record: object, message: str) -> None:
    folder = write(tmp_path, {"test": "MFT", "expect": ["positive"], **COMMON}, record)
    with pytest.raises(UserError) as error:
        load_cases(folder)
    assert str(error.value) == f"{folder / 'own.jsonl'}:2: {message}"


def test_a_folder_without_cases(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_cases(tmp_path)
    assert str(error.value) == f"{tmp_path}: has no .jsonl file with behavioural test cases"
