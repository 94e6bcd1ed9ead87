"""Exact match and F1 against the evaluation script of SQuAD 2.0 and of CMRC 2018, function by function."""

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.evaluation.answer_quality import exact_match, token_f1

# Words that the normal form changes or drops, and such that only look alike.
PIECES = st.sampled_from(
    [
        "a",
        "an",
        "the",
        "The",
        "a-the",
        "theory",
        "bathe",
        "sofa",
        "pan",
        "an'",
        "U.S.",
        "$5",
        "5",
        "cat",
        "Cat,",
        "cats",
        "é",
        "—",
        " ",
        "\n",
        "\t",
    ]
)
TEXTS = st.lists(PIECES, max_size=6).map(" ".join)


def normalize_answer(s: str) -> str:
    """evaluate-v2.0.py: lower text and remove punctuation, articles and extra whitespace."""

    def remove_articles(text: str) -> str:
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def get_tokens(s: str) -> list[str]:
    return normalize_answer(s).split() if s else []


def compute_exact(a_gold: str, a_pred: str) -> int:
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold: str, a_pred: str) -> float:
    gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        # If either is no-answer, then F1 is 1 if they agree, 0 otherwise
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def get_raw_scores(answers: list[str], a_pred: str) -> tuple[int, float]:
    """As the script goes through a question's answers; "" stands for no answer."""
    gold_answers = answers or [""]
    return max(compute_exact(a, a_pred) for a in gold_answers), max(compute_f1(a, a_pred) for a in gold_answers)


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_english_scores_are_those_of_the_script(prediction: str, answers: list[str]) -> None:
    exact, f1 = get_raw_scores(answers, prediction)
    assert exact_match(prediction, answers) == exact
    assert token_f1(prediction, answers) == pytest.approx(f1, abs=1e-12)


def cmrc_f1(answer: str, prediction: str) -> float:
    """cmrc2018_evaluate.py; what is not Chinese holds no mark here, so that its tokenizer has nothing to cut."""
    marks = ["-", ":", "_", "*", "^", "/", "\\", "~", "`", "+", "=", "，", "。", "：", "？", "！", "“", "”", "；", "’",
             "《", "》", "……", "·", "、", "「", "」", "（", "）", "－", "～", "『", "』"]  # fmt: skip

    def mixed_segmentation(in_str: str) -> list[str]:
        in_str = in_str.lower().strip()
        segs_out: list[str] = []
        temp_str = ""
        for char in in_str:
            if char in marks:
                continue
            if re.search(r"[\u4e00-\u9fa5]", char):
                segs_out.extend(temp_str.split())
                temp_str = ""
                segs_out.append(char)
            else:
                temp_str += char
        return [*segs_out, *temp_str.split()]

    def find_lcs(s1: list[str], s2: list[str]) -> int:
        m = [[0 for _ in range(len(s2) + 1)] for _ in range(len(s1) + 1)]
        mmax = 0
        for i in range(len(s1)):
            for j in range(len(s2)):
                if s1[i] == s2[j]:
                    m[i + 1][j + 1] = m[i][j] + 1
                    mmax = max(mmax, m[i + 1][j + 1])
        return mmax

    ans_segs, prediction_segs = mixed_segmentation(answer), mixed_segmentation(prediction)
    lcs_len = find_lcs(ans_segs, prediction_segs)
    if lcs_len == 0:
        return 0
    precision, recall = 1.0 * lcs_len / len(prediction_segs), 1.0 * lcs_len / len(ans_segs)
    return (2 * precision * recall) / (precision + recall)


@given(
    st.text("中文字ab7 。，-·", max_size=10), st.lists(st.text("中文字ab7 。，-·", max_size=8), min_size=1, max_size=3)
)
def test_chinese_f1_is_that_of_the_script(prediction: str, answers: list[str]) -> None:
    answers = [f"文{answer}" for answer in answers]
    assert token_f1(prediction, answers) == pytest.approx(max(cmrc_f1(one, prediction) for one in answers), abs=1e-12)
