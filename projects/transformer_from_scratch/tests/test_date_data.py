"""Generated dates: every written form is read back by a parser that shares nothing with the generator."""

import calendar
import random
import re
from collections import Counter
from datetime import date
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_from_scratch.config import DateDataConfig
from transformer_from_scratch.date_data import FORMS, alphabet, english_suffix, generate_dates, split_days, write
from transformer_from_scratch.train_dates import parse_common

MONTH_BEGINNINGS = {
    1: "jan ene", 2: "feb fév", 3: "mar mär", 4: "apr avr abr", 5: "may mai", 6: "jun juin",
    7: "jul juil", 8: "aug aoû ago", 9: "sep", 10: "oct okt", 11: "nov", 12: "dec dez déc dic",
}  # fmt: skip
ROMAN_MONTHS = ["", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"]
WEEKDAYS = [
    {name.lower(), abbreviation.lower(), german, french, chinese}
    for name, abbreviation, german, french, chinese in zip(
        calendar.day_name,
        calendar.day_abbr,
        ["montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag"],
        ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"],
        ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"],
        strict=True,
    )
]
SPELLED = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12, "twentieth": 20,
           "thirtieth": 30}  # fmt: skip
CARDINALS = ["four", "six", "seven", "ten", "eleven", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
             "eighteen", "nineteen"]  # fmt: skip
CARDINAL_VALUES = [4, 6, 7, 10, 11, 13, 14, 15, 16, 17, 18, 19]
SPELLED |= {f"{word}th": value for word, value in zip(CARDINALS, CARDINAL_VALUES, strict=True)}


def day_in_words(word: str) -> int | None:
    if word in SPELLED:
        return SPELLED[word]
    tens, dash, ones = word.partition("-")
    return {"twenty": 20, "thirty": 30}[tens] + SPELLED[ones] if dash and ones in SPELLED else None


def hanzi_value(text: str) -> int:
    digits = "〇一二三四五六七八九"
    if "十" in text:
        tens, ones = text.split("十")
        return (digits.index(tens) if tens else 1) * 10 + (digits.index(ones) if ones else 0)
    return int("".join(str(digits.index(character)) for character in text))


def read_date(text: str) -> date:
    """The date of a text in any form, by its words and numbers alone; checks the weekday if there is one."""
    text = re.sub(r"t?14:05:00(z| \+0000)?", "", " ".join(text.lower().split()))
    weekday = None
    for index, names in enumerate(WEEKDAYS):
        for name in names:
            if re.search(rf"\b{name}\b", text):
                weekday, text = index, re.sub(rf"\b{name}\b", "", text)
    if "年" in text:
        year, month, day = re.findall(r"[\d〇一二三四五六七八九十]+(?=[年月日])", text)
        read = int if year.isdigit() else hanzi_value
        found = date(read(year), read(month), read(day))
    else:
        found = read_western(text)
    assert weekday is None or found.weekday() == weekday, "the wrong weekday"
    return found


def read_western(text: str) -> date:
    numbers = re.findall(r"\d+", text)
    words = re.findall(r"[^\W\d_]+(?:-(?:" + "|".join(SPELLED) + r"))?", text)
    spelled_days = [day for word in words if (day := day_in_words(word))]
    months = [
        month
        for word in words
        if day_in_words(word) is None
        for month, beginnings in MONTH_BEGINNINGS.items()
        if word.startswith(tuple(beginnings.split())) or word == ROMAN_MONTHS[month]
    ]
    if not months:
        if len(numbers) == 1:  # 19990304
            return date(int(numbers[0][:4]), int(numbers[0][4:6]), int(numbers[0][6:]))
        first, month, last = numbers
        return (
            date(int(first), int(month), int(last))
            if len(first) == 4
            else date(full_year(last), int(month), int(first))
        )
    (month,) = set(months)
    if spelled_days:
        return date(full_year(numbers[0]), month, spelled_days[0])
    first, last = numbers
    return date(int(first), month, int(last)) if len(first) == 4 else date(full_year(last), month, int(first))


def full_year(digits: str) -> int:
    if len(digits) == 4:
        return int(digits)
    return int(digits) + (1900 if int(digits) >= 69 else 2000)


@settings(max_examples=1000, deadline=None)
@given(day=st.dates(date(1900, 1, 1), date(2099, 12, 31)), form=st.sampled_from(FORMS), seed=st.integers(0, 10**6))
def test_every_form_is_read_back_as_the_date_it_was_written_from(day: date, form: str, seed: int) -> None:
    if "{yy}" in form and not 1969 <= day.year <= 2068:
        return
    text = write(form, day, random.Random(seed))
    assert read_date(text) == day
    assert set(text) <= known_characters()


@cache
def known_characters() -> frozenset[str]:
    return frozenset(alphabet())


@pytest.mark.parametrize("form", FORMS)
def test_each_form_writes_every_day_of_a_leap_year(form: str) -> None:
    generator = random.Random(0)
    for ordinal in range(date(2000, 1, 1).toordinal(), date(2001, 1, 1).toordinal()):
        day = date.fromordinal(ordinal)
        assert read_date(write(form, day, generator)) == day


def test_the_parser_of_this_test_sees_a_wrong_weekday() -> None:
    with pytest.raises(AssertionError, match="wrong weekday"):
        read_date("Friday, 4 March 1999")


def test_every_generated_pair_is_read_back() -> None:
    """Two digits of a year are written only for the hundred years in which they have a meaning."""
    pairs = generate_dates(DateDataConfig(n_train=8000), seed=5).pairs
    assert [source for source, iso in pairs.train if read_date(source).isoformat() != iso] == []


def test_english_ordinals() -> None:
    numbers = [1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 30, 31]
    assert " ".join(f"{number}{english_suffix(number)}" for number in numbers) == (
        "1st 2nd 3rd 4th 10th 11th 12th 13th 14th 20th 21st 22nd 23rd 24th 30th 31st"
    )


def test_no_test_date_is_trained_or_validated_on_in_any_form() -> None:
    data = generate_dates(DateDataConfig(n_train=20_000, n_validation=2000, n_test=2000), seed=3)
    train, validation, test = (
        {iso for _, iso in pairs} for pairs in (data.pairs.train, data.pairs.validation, data.pairs.test)
    )
    assert len(test) > 1500
    assert not test & train
    assert not test & validation
    assert not validation & train


def test_the_split_covers_every_date_from_1900_to_2099_once() -> None:
    train, validation, test = split_days(0.1)
    assert [len(train), len(validation), len(test)] == [62_092, 3652, 7305]
    days = sorted(train + validation + test)
    assert len(set(days)) == len(days) == (date(2099, 12, 31) - date(1900, 1, 1)).days + 1
    assert date(2000, 2, 29) in set(days)
    assert (days[0], days[-1]) == (date(1900, 1, 1), date(2099, 12, 31))


def test_the_seed_changes_what_is_trained_on_and_never_what_is_tested() -> None:
    config = DateDataConfig(n_train=500, n_validation=100, n_test=200)
    first, again, other = (generate_dates(config, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.pairs.train != other.pairs.train
    assert first.pairs.test == other.pairs.test
    assert first.pairs.validation == other.pairs.validation


def test_each_form_is_tested_equally_often() -> None:
    data = generate_dates(DateDataConfig(n_train=1, n_validation=1, n_test=5 * len(FORMS)), seed=1)
    assert len(FORMS) >= 25
    assert Counter(data.test_forms) == dict.fromkeys(FORMS, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1999-03-04", "1999-03-04"),
        (" 4  March  1999 ", "1999-03-04"),
        ("04/03/99", "1999-03-04"),
        ("THURSDAY, 4 MARCH 1999", "1999-03-04"),
        ("4. März 1999", ""),
        ("31.02.1999", ""),
    ],
)
def test_the_baseline_reads_common_formats_and_is_silent_on_others(text: str, expected: str) -> None:
    assert parse_common(text) == expected


def test_the_baseline_is_never_wrong_where_it_answers() -> None:
    data = generate_dates(DateDataConfig(n_train=1, n_validation=1, n_test=1000), seed=1)
    answers = [(parse_common(source), target) for source, target in data.pairs.test]
    assert 0.2 < sum(bool(answer) for answer, _ in answers) / len(answers) < 0.8
    assert all(answer in ("", target) for answer, target in answers)
