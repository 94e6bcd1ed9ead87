import random
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_sentiment.evaluation import robustness as module
from bert_sentiment.evaluation.robustness import NEIGHBOURS, PERTURBATIONS, perturb, robustness
from roadmap_shared.metrics import wilson_interval

PROTECTED = ["https://shop.example/a-b?c=Good", "www.film.example", "@GoodFilm", "<br />", "&amp;"]
PLAIN = [
    "good",
    "film",
    "it's",
    "never",
    "😍",
    "👍🏽",
    "!!",
    "don’t",
    "3.5",
    "好电影",
    "이영화",
    "I",
    "well-made",
    "...",
    "ok",
    "👩‍👩‍👧",
]
TEXTS = st.lists(st.sampled_from(PROTECTED + PLAIN), min_size=1, max_size=12).map(" ".join)
NAMES = st.sampled_from(list(PERTURBATIONS))
RATES = st.sampled_from([0.0, 0.3, 1.0])
TYPOS = ["letters swapped", "letters dropped", "letters doubled", "neighbouring keys"]


def found(text: str) -> list[str]:
    """The protected parts of a text built from `TEXTS`, in order."""
    return [word for word in text.split(" ") if word in PROTECTED or word in {"<br", "/>"}]


@given(TEXTS, NAMES, st.integers(0, 99), RATES)
def test_addresses_mentions_and_markup_stay(text: str, name: str, seed: int, rate: float) -> None:
    assert found(perturb(text, PERTURBATIONS[name], seed, rate)) == found(text)


@given(TEXTS, NAMES, st.integers(0, 99), RATES)
def test_a_word_is_left(text: str, name: str, seed: int, rate: float) -> None:
    perturbed = perturb(text, PERTURBATIONS[name], seed, rate)
    assert re.search(r"\w", perturbed) or perturbed == text


@given(st.text(min_size=1, max_size=40), NAMES, st.integers(0, 99))
def test_any_text_can_be_perturbed_and_twice_alike(text: str, name: str, seed: int) -> None:
    once = perturb(text, PERTURBATIONS[name], seed, 1.0)
    assert once == perturb(text, PERTURBATIONS[name], seed, 1.0)
    if any(map(str.isalnum, text)):
        assert any(map(str.isalnum, once))


@given(
    st.text(alphabet="这部电影真好看不太喜欢 ", min_size=1),
    st.sampled_from(sorted({*PERTURBATIONS} - {"no punctuation"})),
)
def test_chinese_stays(text: str, name: str) -> None:
    assert perturb(text, PERTURBATIONS[name], 0, 1.0) == text


def test_chinese_loses_marks_and_emoji() -> None:
    assert perturb("不错！真的，很好", PERTURBATIONS["no punctuation"], 0) == "不错 真的 很好"
    assert perturb("不错😍", PERTURBATIONS["no emoji"], 0) == "不错 "
    # The Latin word in a Chinese text can be mistyped.
    assert perturb("这个sound很好", PERTURBATIONS["letters doubled"], 0, 1.0) == "这个sound很好"
    assert perturb("这个 sound 很好", PERTURBATIONS["letters doubled"], 0, 1.0) != "这个 sound 很好"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("upper case", "Good film @Bob https://x.example/a", "GOOD FILM @Bob https://x.example/a"),
        ("lower case", "Good FILM @Bob", "good film @Bob"),
        ("no punctuation", "Well, it's 3.5 of 5... a well-made film!", "Well it's 3.5 of 5 a well-made film "),
        ("no apostrophes", "don't won’t 'quoted' dogs'", "dont wont 'quoted' dogs'"),
        ("no emoji", "home 😍 again ❤️ now", "home again now"),
        ("no emoji", "👍🏽 good 👩‍👩‍👧 5️⃣😍 film", " good film"),
        ("no emoji", "😍😍", "😍😍"),
        ("no punctuation", "?!", "?!"),
        ("words drawn out", "so good, hmm 42 me", "soooo goooood, hmm 42 meeee"),
    ],
)
def test_perturbations_by_hand(name: str, before: str, after: str) -> None:
    assert perturb(before, PERTURBATIONS[name], 0, 1.0) == after


@given(st.text(alphabet="abcdefgxyzABC", min_size=4, max_size=9), st.sampled_from(TYPOS), st.integers(0, 999))
def test_a_typing_error_is_one_edit(word: str, name: str, seed: int) -> None:
    mistyped = perturb(word, PERTURBATIONS[name], seed, 1.0)
    assert mistyped[0] == word[0]
    assert mistyped in set(one_edit(word, name)) | ({word} if len(set(word[1:])) == 1 and "swapped" in name else set())


def one_edit(word: str, name: str) -> list[str]:
    """Every word that the error can make of `word`."""
    match name:
        case "letters swapped":
            pairs = [(i, i + 1) for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
            return ["".join([*word[:i], word[j], word[i], *word[j + 1 :]]) for i, j in pairs]
        case "letters dropped":
            return [word[:i] + word[i + 1 :] for i in range(1, len(word))]
        case "letters doubled":
            return [word[:i] + word[i] * 2 + word[i + 1 :] for i in range(1, len(word))]
    return [
        word[:i] + (key.upper() if word[i].isupper() else key) + word[i + 1 :]
        for i in range(1, len(word))
        for key in NEIGHBOURS[word[i].lower()]
    ]


def test_neighbouring_keys() -> None:
    assert {key: set(NEIGHBOURS[key]) for key in "qghmp"} == {
        "q": set("wa"),
        "g": set("fhtyvb"),
        "h": set("gjyubn"),
        "m": set("njk"),
        "p": set("ol"),
    }
    assert all(key in NEIGHBOURS[other] for key, others in NEIGHBOURS.items() for other in others)


@pytest.mark.parametrize("name", TYPOS)
def test_share_of_mistyped_words_is_the_rate(name: str) -> None:
    words = ["wonderful"] * 4000
    mistyped = perturb(" ".join(words), PERTURBATIONS[name], 0, 0.1).split()
    share = np.mean([before != after for before, after in zip(words, mistyped, strict=True)])
    interval = wilson_interval(400, 4000, 0.999)
    assert interval.low < share < interval.high


def test_short_words_are_not_mistyped() -> None:
    assert perturb("not so bad at all", PERTURBATIONS["letters dropped"], 0, 1.0) == "not so bad at all"


@given(st.integers(0, 99))
def test_blanks_are_dropped_or_doubled(seed: int) -> None:
    text = "a good film @bob in town"
    respaced = perturb(text, PERTURBATIONS["blanks dropped or doubled"], seed, 1.0)
    assert re.fullmatch(r"a( {2})?good( {2})?film @bob in( {2})?town", respaced)


def test_perturbation_depends_on_text_and_seed_alone() -> None:
    drop = PERTURBATIONS["letters dropped"]
    texts = [f"wonderful performance number {i} tonight" for i in range(20)]
    forwards = [perturb(text, drop, 3, 0.5) for text in texts]
    backwards = [perturb(text, drop, 3, 0.5) for text in reversed(texts)]
    assert forwards == backwards[::-1]
    assert forwards != [perturb(text, drop, 4, 0.5) for text in texts]


def shouting(texts: Sequence[str]) -> np.ndarray:
    """Positive (1) as long as the word "good" is there in small letters."""
    positive = np.array(["good" in text for text in texts], dtype=float)
    return np.stack([1 - positive, positive], axis=1)


def test_rows_by_hand() -> None:
    texts = ["good film", "GOOD FILM", "bad film", "12"]
    rows = {row.perturbation: row for row in robustness(shouting, texts, [1, 1, 0, 0], seed=0)}
    assert list(rows) == ["none", *PERTURBATIONS]
    assert rows["none"].accuracy == wilson_interval(3, 4)
    assert (rows["none"].n_changed, rows["none"].difference, rows["none"].flipped) == (0, None, None)
    # In capitals, "good film" is no longer positive; "GOOD FILM" and "12" stay as they are.
    upper = rows["upper case"]
    assert (upper.n_changed, upper.accuracy, upper.flipped) == (2, wilson_interval(2, 4), wilson_interval(1, 2))
    assert upper.difference is not None
    assert upper.difference.difference == -0.25
    # In small letters, the second text is found too.
    lower = rows["lower case"]
    assert (lower.n_changed, lower.accuracy, lower.flipped) == (1, wilson_interval(4, 4), wilson_interval(1, 1))
    assert rows["no emoji"].flipped is None
    assert rows["no emoji"].accuracy == wilson_interval(3, 4)


def test_only_altered_texts_are_predicted_again() -> None:
    seen: list[list[str]] = []

    def predict(texts: Sequence[str]) -> np.ndarray:
        seen.append(list(texts))
        return shouting(texts)

    robustness(predict, ["good 😍", "film"], [1, 0], 0, perturbations={"no emoji": PERTURBATIONS["no emoji"]})
    assert seen == [["good 😍", "film"], ["good "]]


@settings(max_examples=20)
@given(st.integers(0, 9))
def test_rate_zero_leaves_typing_alone(seed: int) -> None:
    for name in [*TYPOS, "blanks dropped or doubled", "words drawn out"]:
        assert perturb("a wonderful evening at home", PERTURBATIONS[name], seed, 0.0) == "a wonderful evening at home"


@pytest.mark.parametrize(
    ("texts", "targets", "rate", "message"),
    [
        ([], [], 0.1, "expected one target a text, and at least one, got 0 texts and (0,)"),
        (["a"], [0, 1], 0.1, "expected one target a text, and at least one, got 1 texts and (2,)"),
        (["a"], [0], 1.5, "rate must lie between 0 and 1, got 1.5"),
    ],
)
def test_bad_arguments(texts: list[str], targets: list[int], rate: float, message: str) -> None:
    with pytest.raises(ValueError) as error:
        robustness(shouting, texts, targets, 0, rate=rate)
    assert str(error.value) == message


def test_every_perturbation_is_documented_and_changes_something() -> None:
    text = "Well, I don't think the film is so good 😍 really, nothing like it"
    for name, perturbation in PERTURBATIONS.items():
        assert perturbation.__doc__, name
        assert perturbation(text, random.Random(1), 1.0) != text, name
    assert module.__doc__
