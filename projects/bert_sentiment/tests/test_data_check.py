"""What the data check finds in texts whose faults are known."""

import itertools
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bert_sentiment.config import DataConfig, PreprocessingConfig
from bert_sentiment.data.check_results import DataCheck, Leakage, Pair
from bert_sentiment.data.check_sentences import print_warnings
from bert_sentiment.data.data_check import check_data, measure_lengths
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.label_noise import (
    N_FOLDS,
    SuspectIndex,
    find_suspects,
    out_of_fold_probabilities,
    rank_suspects,
    stratified_folds,
    tf_idf,
)
from bert_sentiment.data.label_slips import label_slips, slip_sentence
from bert_sentiment.data.similarity import contained, near_groups, read_words
from bert_sentiment.data.types import Example, SentimentDataset, Splits

LABELS = ("negative", "neutral", "positive")
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """Each word between blanks is one token."""
    inner = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def dataset(name: str, *rows: tuple[str, int]) -> SentimentDataset:
    examples = tuple(Example(text, label, source=f"{name}:{line}") for line, (text, label) in enumerate(rows, start=1))
    return SentimentDataset(LABELS, examples, name)


def splits_of(train: list[tuple[str, int]], validation: list[tuple[str, int]], test: list[tuple[str, int]]) -> Splits:
    return Splits(dataset("a", *train), dataset("b", *validation), dataset("c", *test))


def sources(pairs: tuple[Pair, ...]) -> list[tuple[str, str]]:
    return [(pair.first.source, pair.second.source) for pair in pairs]


@pytest.fixture(scope="module")
def check(tokenizer: PreTrainedTokenizerBase) -> DataCheck:
    train = [
        ("Good film", 2),
        ("good  FILM", 2),  # equal to the first
        ("Good film!!!", 2),  # nearly
        (LONG, 0),
        (f"and then: {LONG}", 0),  # holds the one before
        ("quite another text", 1),
        ("🙂", 2),
        ("🙁", 0),
        ("...", 1),
        ("???", 1),
    ]
    validation = [("GOOD FILM", 0), ("nothing like it", 1)]
    test = [("good film.", 2), (LONG.replace("fourteen", "end"), 0), ("quite another  text", 1), ("alone", 2)]
    return check_data(splits_of(train, validation, test), tokenizer, PreprocessingConfig(max_length=12))


def test_repetitions_inside_a_part(check: DataCheck) -> None:
    train, validation, test = check.parts
    assert (train.n_texts, train.n_equal, train.n_near) == (10, 1, 2)
    assert sources(train.repeated) == [("a:1", "a:2"), ("a:1", "a:3"), ("a:4", "a:5")]
    assert (validation.n_equal, validation.n_near, test.n_equal, test.n_near) == (0, 0, 0, 0)
    assert train.label_counts == {"negative": 3, "neutral": 3, "positive": 4}


def test_leakage_between_parts(check: DataCheck) -> None:
    into_validation, from_train, from_validation = check.leakage
    assert isinstance(from_train, Leakage)
    assert (into_validation.n_equal, into_validation.n_near) == (1, 0)
    assert (from_train.earlier, from_train.later) == ("train", "test")
    assert (from_train.n_equal, from_train.n_near) == (1, 2)
    assert sources(from_train.pairs) == [("a:6", "c:3"), ("a:1", "c:1"), ("a:4", "c:2")]
    assert (from_validation.n_equal, from_validation.n_near) == (0, 1)


def test_contradictions_across_parts(check: DataCheck) -> None:
    assert [[example.source for example in group] for group in check.contradictions] == [["a:1", "a:2", "b:1"]]


def test_the_findings_in_words(check: DataCheck) -> None:
    assert check.findings == (
        "Leakage: 1 of 2 validation texts (50.0%) are known from the train part, 1 equal and 0 nearly so. The score on "
        "them shows memory, no more.",
        "Leakage: 3 of 4 test texts (75.0%) are known from the train part, 1 equal and 2 nearly so. The score on them "
        "shows memory, no more.",
        "Leakage: 1 of 4 test texts (25.0%) are known from the validation part, 0 equal and 1 nearly so. The score on "
        "them shows memory, no more.",
        "Contradictions: 1 text with more than one label, in 3 rows (the first are a:1 and a:2). No model can be right "
        "on all of them.",
        "The train part has 10 texts: negative 30.0%, neutral 30.0%, positive 40.0%.",
        "Repeated within the train part: 1 text equal to an earlier one, 2 more nearly so (30.0%).",
        "The validation part has 2 texts: negative 50.0%, neutral 50.0%, positive 0.0%. Accuracy hides what happens to "
        "positive: look at macro-F1.",
        "The test part has 4 texts: negative 25.0%, neutral 25.0%, positive 50.0%.",
        "16 texts are too few to look for wrong labels; it takes 100.",
        "Cut to 10 tokens: 18.8% of the texts, which loses 20.6% of all tokens (2 tokens in the middle, 16 at most).",
    )


def test_what_is_said_before_training(check: DataCheck, capsys: pytest.CaptureFixture[str]) -> None:
    print_warnings(check)
    assert capsys.readouterr().out.splitlines() == [
        "data check: 3 of 4 test texts (75.0%) are known from training",
        "data check: 1 text with more than one label (the first are a:1 and a:2)",
        "data check: 18.8% of the texts are cut to 10 tokens; --preprocessing.max_length and "
        "--preprocessing.truncation decide where",
    ]


def test_rare_labels_slips_and_a_test_of_one_label_are_said_before_training(tokenizer: PreTrainedTokenizerBase) -> None:
    labels = ("negative", "positive", "postive")
    rows = [(f"text {index} {index}", index % 2) for index in range(60)] + [("slip one", 2), ("slip two", 2)]
    parts = [dataset(name, *chosen) for name, chosen in (("a", rows), ("b", rows[:0]), ("c", [("other words", 1)]))]
    splits = Splits(*(replace(part, labels=labels) for part in parts))
    check = check_data(splits, tokenizer, PreprocessingConfig())
    slip = (
        "Labels: 'postive' (2) and 'positive' (30) are nearly the same. Each is a class of its own; if that is not "
        "meant: --data.label_map negative=negative positive=positive postive=positive"
    )
    assert check.warnings == (
        slip,
        "rare among 62 training texts: postive (2); look at macro-F1, not accuracy",
        "every test text has the label 'positive': there is no area under the ROC curve",
    )
    assert slip in check.findings


@pytest.mark.parametrize(
    ("counts", "slips"),
    [
        ({"negative": 50, "positive": 50, "postive": 3}, {"postive": "positive"}),
        ({"negative": 50, "Positive": 40, "positive": 30}, {"positive": "Positive"}),
        ({"good": 50, "Good": 1, "bad": 9, "goood": 2, "GOOOD": 1}, dict.fromkeys(("Good", "goood", "GOOOD"), "good")),
        ({"negative": 50, "positive": 50, "neutral": 1}, {}),
        ({"positive": 50, "postive": 20}, {}),
        ({"negative": 50, "very negative": 2}, {}),
        ({"4 stars": 50, "5 stars": 2, "1": 50, "10": 1}, {}),
        ({"happy": 50, "unhappy": 2}, {}),
    ],
)
def test_labels_that_may_be_a_slip(counts: dict[str, int], slips: dict[str, str]) -> None:
    assert label_slips(counts) == slips


def test_the_mended_label_map_starts_from_the_given_one() -> None:
    sentence = slip_sentence({"bad": 9, "Bad": 1, "very good": 9}, ("0=bad", "1=Bad", "2=very good"))
    assert sentence.endswith(
        "'Bad' (1) and 'bad' (9) differ by case only. Each is a class of its own; if that is not "
        "meant: --data.label_map 0=bad 1=bad '2=very good'"
    )
    assert slip_sentence({"bad": 9, "good": 9}) == ""


def test_lengths_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [["a b c", "a"], [], ["a <br/> b " + "c " * 8]]
    lengths = measure_lengths(texts, tokenizer, PreprocessingConfig(max_length=8))
    assert (lengths.n_texts, lengths.room, lengths.median, lengths.longest) == (3, 6, 3.0, 10)
    assert lengths.by_part == ((3, 1), (), (10,))
    assert lengths.percentile_95 == pytest.approx(9.3)
    assert lengths.share_cut == pytest.approx(1 / 3)
    assert lengths.share_tokens_lost == pytest.approx(4 / 14)


def test_only_a_sample_of_many_texts_is_measured(tokenizer: PreTrainedTokenizerBase) -> None:
    assert measure_lengths([["a"] * 4001, ["b"] * 10], tokenizer, PreprocessingConfig()).n_texts == 1344
    assert measure_lengths([[]], tokenizer, PreprocessingConfig()).n_texts == 0


words = st.lists(st.sampled_from("abc"), max_size=16).map(" ".join)


def gram_set(text: str) -> set[tuple[str, ...]]:
    parts = text.split()
    return {tuple(parts[start : start + 5]) for start in range(len(parts) - 4)}


@given(st.lists(words, max_size=8))
def test_containment_is_that_of_the_sets_of_grams(texts: list[str]) -> None:
    expected = set()
    for first, second in itertools.permutations(range(len(texts)), 2):
        own, other = gram_set(texts[first]), gram_set(texts[second])
        if (len(own), first) < (len(other), second) and len(own) >= 6 and len(own & other) >= 0.5 * len(own):
            expected.add((first, second))
    assert set(contained(read_words(texts), np.arange(len(texts)))) == expected


@given(st.lists(words | st.sampled_from(["A b", "a, B!", "!", "?", "好好", "好 好"]), max_size=10))
def test_groups_are_those_of_equal_words(texts: list[str]) -> None:
    def known(text: str) -> str:
        return (
            " ".join("".join(c if c.isalnum() else " " for c in text.casefold().replace("好", " 好 ")).split()) or text
        )

    groups, _ = near_groups(texts, read_words(texts))
    for first, second in itertools.combinations(range(len(texts)), 2):
        assert (groups[first] == groups[second]) == (known(texts[first]) == known(texts[second]))


def test_tf_idf_is_that_of_scikit_learn() -> None:
    texts = ["a good film", "not a good film", "a bad bad film", "not bad", "unique"]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\w+")
    expected = vectorizer.fit_transform(texts).toarray()
    ours = tf_idf(read_words(texts)).toarray()

    def columns(matrix: np.ndarray) -> np.ndarray:
        rounded = matrix.T.round(5)
        return rounded[np.lexsort(rounded.T)]

    np.testing.assert_allclose(columns(ours), columns(expected), atol=1e-6)


def test_suspects_by_hand() -> None:
    # Mean probability of their own label: (.9 + .2) / 2 = .55 for label 0, (.8 + .6 + .1) / 3 = .5 for label 1.
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    suspects = rank_suspects(probabilities, np.array([0, 0, 1, 1, 1]))
    assert suspects == [SuspectIndex(4, 0, 0.1), SuspectIndex(1, 1, 0.2)]


def test_a_label_below_the_others_average_is_no_suspect() -> None:
    probabilities = np.array([[0.95, 0.05], [0.55, 0.45], [0.1, 0.9], [0.5, 0.5]])
    # Text 3 leans to neither: the average of label 0 is .75.
    assert rank_suspects(probabilities, np.array([0, 0, 1, 1])) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=60))
def test_folds_keep_groups_together(rows: list[tuple[int, int]]) -> None:
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    folds = stratified_folds(labels, groups)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in groups)
    alone = stratified_folds(labels, np.arange(len(labels)))
    for label in set(labels.tolist()):
        counts = np.bincount(alone[labels == label], minlength=N_FOLDS)
        assert counts.max() - counts.min() <= 1


def test_no_text_is_judged_by_a_model_that_saw_it() -> None:
    # Each text has a word of its own: a model that has seen it would be certain, one that has not knows the frequency.
    texts = [f"word{index} word{index}" for index in range(30)] * 2
    labels = np.array([index % 3 for index in range(30)] * 2)
    read = read_words(texts)
    groups, _ = near_groups(texts, read)
    probabilities = out_of_fold_probabilities(tf_idf(read), labels, groups)
    np.testing.assert_allclose(probabilities, 1 / 3, atol=1e-3)


def planted(n: int) -> tuple[list[str], np.ndarray, set[int]]:
    """Texts whose words tell the label, and the indices of those whose label was turned round."""
    drawn = random.Random(0)
    vocabulary = (["awful", "dull", "poor", "broken"], ["fine", "great", "lovely", "superb"])
    texts, labels, wrong = [], [], set()
    for index in range(n):
        label = index % 2
        told = drawn.sample(vocabulary[label], 3)
        texts.append(" ".join([*told, drawn.choice("abcdefgh")]))
        if index % 25 == 7:
            wrong.add(index)
            label = 1 - label
        labels.append(label)
    return texts, np.array(labels), wrong


def test_planted_wrong_labels_are_the_first_suspects() -> None:
    texts, labels, wrong = planted(300)
    read = read_words(texts)
    suspects = find_suspects(read, labels, near_groups(texts, read)[0])
    assert {suspect.index for suspect in suspects[: len(wrong)]} == wrong
    assert all(suspect.suggested == 1 - labels[suspect.index] for suspect in suspects)
    assert find_suspects(read_words(texts[:99]), labels[:99], np.arange(99)) == []


def test_the_check_names_suspects_with_their_labels(tokenizer: PreTrainedTokenizerBase) -> None:
    texts, labels, wrong = planted(300)
    rows = [(text, 2 * int(label)) for text, label in zip(texts, labels, strict=True)]
    check = check_data(splits_of(rows[:200], rows[200:250], rows[250:]), tokenizer, PreprocessingConfig(), n_suspects=3)
    assert check.n_suspects >= len(wrong)
    assert len(check.suspects) == 3
    for suspect in check.suspects:
        part, _, line = suspect.example.source.partition(":")
        offset = {"a": ("train", 0), "b": ("validation", 200), "c": ("test", 250)}[part]
        assert suspect.part == offset[0]
        assert int(line) - 1 + offset[1] in wrong
        assert {suspect.given, suspect.suggested} == {"negative", "positive"}
        assert suspect.given == LABELS[suspect.example.label]
        assert suspect.given_probability < 0.5


def test_an_empty_part_is_said(tokenizer: PreTrainedTokenizerBase) -> None:
    check = check_data(splits_of([("a", 0), ("b", 2)], [], []), tokenizer, PreprocessingConfig())
    assert check.findings[1:3] == ("The validation part is empty.", "The test part is empty.")
    assert check.findings[-1] == "No text is cut: 1 tokens in the middle, 1 at most, and the model sees 126."


@pytest.mark.skipif(
    "ROADMAP_DATA" not in os.environ, reason="ROADMAP_DATA does not name the folder with real data sets"
)
def test_real_texts_with_known_leakage(tokenizer: PreTrainedTokenizerBase) -> None:
    config = DataConfig(path=Path(os.environ["ROADMAP_DATA"]) / "zh_chnsenticorp", text_column="text_a")
    check = check_data(load_splits(config), tokenizer, PreprocessingConfig())
    assert check.leakage[1].n_equal == 331
    assert len(check.contradictions) == 36
