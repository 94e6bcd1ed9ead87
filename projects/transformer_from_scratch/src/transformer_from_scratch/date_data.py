"""Dates in many written forms, each with its ISO 8601 form (YYYY-MM-DD): generated, so the truth is known exactly.

Conventions, where a written date alone would be ambiguous:
- **The day stands before the month** in forms of numbers alone: 03/04/1999 is 3 April. A four-digit year that stands
  first is followed by the month: 1999/3/4 is 4 March.
- **A two-digit year lies between 1969 and 2068**, as in POSIX `strptime`: 68 is 2068, 69 is 1969.
- A weekday, where there is one, is the right one.

Forms that need a calendar rather than a translation (ISO weeks, day of the year) are left out.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from transformer_from_scratch.config import DateDataConfig
from transformer_from_scratch.sequence_pairs import Pair, SequencePairs

FIRST_YEAR, LAST_YEAR = 1900, 2099
FIRST_SHORT_YEAR, LAST_SHORT_YEAR = 1969, 2068

FORMS = (
    # Numbers, year first
    "{year}-{mm}-{dd}",
    "{year}{mm}{dd}",
    "{year}/{mm}/{dd}",
    "{year}/{m}/{d}",
    "{year}.{mm}.{dd}",
    "{year} {mm} {dd}",
    "{year}-{mm}-{dd}T14:05:00Z",
    # Numbers, day first
    "{dd}/{mm}/{year}",
    "{d}/{m}/{year}",
    "{dd}/{mm}/{yy}",
    "{d}.{m}.{year}",
    "{dd}.{mm}.{yy}",
    "{d}-{m}-{year}",
    # English, day first
    "{d} {month} {year}",
    "{nth} {month} {year}",
    "{d} {mon} {year}",
    "{dd}-{mon}-{year}",
    "{dd}{mon}{year}",
    "{dd}{mon}{yy}",
    "{d} {mon} '{yy}",
    "the {nth} of {month}, {year}",
    "the {ordinal} of {month} {year}",
    "{weekday}, {d} {month} {year}",
    "{wkd} {d} {mon} {year}",
    "{wkd}, {dd} {mon} {year} 14:05:00 +0000",
    # English, month first
    "{month} {d}, {year}",
    "{month} {nth}, {year}",
    "{mon} {nth}, {year}",
    "{mon}. {d}, {year}",
    "{month} the {ordinal}, {year}",
    "{weekday}, {month} {d}, {year}",
    "{wkd} {mon} {dd} 14:05:00 {year}",
    "{year} {month} {d}",
    "{year}-{mon}-{dd}",
    # Roman months
    "{d}.{roman}.{year}",
    "{d} {roman} {year}",
    # German, French, Spanish
    "{d}. {monat} {year}",
    "{wochentag}, den {d}. {monat} {year}",
    "{d} {mois} {year}",
    "{jour} {d} {mois} {year}",
    "{d} de {mes} de {year}",
    # Chinese
    "{year}年{m}月{d}日",
    "{year}年{mm}月{dd}日 星期{xingqi}",
    "{hanzi_year}年{hanzi_m}月{hanzi_d}日",
)
"""Templates of the written forms; `fields` says what the names stand for."""

EXAMPLE = date(1999, 3, 4)
"""The date that stands for a form in tables."""

MONTHS = "January February March April May June July August September October November December".split()
MONATE = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
MOIS = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split()
MESES = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()
ROMAN = "I II III IV V VI VII VIII IX X XI XII".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
WOCHENTAGE = "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split()
JOURS = "lundi mardi mercredi jeudi vendredi samedi dimanche".split()
XINGQI = "一二三四五六日"
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third "
    "twenty-fourth twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
).split()
HANZI_DIGITS = "〇一二三四五六七八九"


@dataclass(frozen=True)
class DateData:
    """Written dates, and the form of each one in the test."""

    pairs: SequencePairs
    test_forms: list[str]


@dataclass(frozen=True)
class DateResult:
    """A written test date, its ISO form, and what the model and the baseline made of it."""

    form: str
    written: str
    expected: str
    model: str
    baseline: str


def fields(day: date) -> dict[str, str]:
    """What the names in `FORMS` stand for, for one date."""
    month, weekday = day.month - 1, day.weekday()
    return {
        "year": str(day.year),
        "yy": f"{day.year % 100:02d}",
        "m": str(day.month),
        "mm": f"{day.month:02d}",
        "d": str(day.day),
        "dd": f"{day.day:02d}",
        "nth": f"{day.day}{english_suffix(day.day)}",
        "ordinal": ORDINALS[day.day - 1],
        "month": MONTHS[month],
        "mon": MONTHS[month][:3],
        "monat": MONATE[month],
        "mois": MOIS[month],
        "mes": MESES[month],
        "roman": ROMAN[month],
        "weekday": WEEKDAYS[weekday],
        "wkd": WEEKDAYS[weekday][:3],
        "wochentag": WOCHENTAGE[weekday],
        "jour": JOURS[weekday],
        "xingqi": XINGQI[weekday],
        "hanzi_year": "".join(HANZI_DIGITS[int(digit)] for digit in str(day.year)),
        "hanzi_m": hanzi_number(day.month),
        "hanzi_d": hanzi_number(day.day),
    }


def english_suffix(number: int) -> str:
    """The ending of an English ordinal: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    return "th" if 11 <= number <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def hanzi_number(number: int) -> str:
    """1 to 99 in Chinese: 三, 十, 十二, 二十, 三十一."""
    tens, ones = divmod(number, 10)
    head = "" if tens == 0 else "十" if tens == 1 else f"{HANZI_DIGITS[tens]}十"
    return head + (HANZI_DIGITS[ones] if ones else "")


def write(form: str, day: date, generator: random.Random) -> str:
    """A date in a form, 3 times in 10 all in lower or upper case, once in 10 with more spaces than needed."""
    text = form.format(**fields(day))
    case = generator.random()
    if case < 0.3:
        text = text.lower() if case < 0.15 else text.upper()
    if generator.random() < 0.1:
        text = " " * generator.randint(0, 2) + text.replace(" ", "  ") + " " * generator.randint(0, 2)
    return text


def all_days() -> Iterator[date]:
    """Every date from 1900 to 2099, 73,049 of them."""
    day = date(FIRST_YEAR, 1, 1)
    while day.year <= LAST_YEAR:
        yield day
        day += timedelta(days=1)


def split_days(held_out_share: float) -> tuple[list[date], list[date], list[date]]:
    """Training, validation and test dates, which share no date; the same split whatever the run's seed."""
    days = list(all_days())
    random.Random(0).shuffle(days)
    n_test = round(held_out_share * len(days))
    n_held_out = n_test + n_test // 2
    return days[n_held_out:], days[n_test:n_held_out], days[:n_test]


def write_many(days: Sequence[date], n_pairs: int, seed: int) -> tuple[list[Pair], list[str]]:
    """Written dates with their ISO form, and the form of each; the forms take turns, the dates are drawn."""
    generator = random.Random(seed)
    short_year_days = [day for day in days if FIRST_SHORT_YEAR <= day.year <= LAST_SHORT_YEAR]
    pairs: list[Pair] = []
    forms = [FORMS[index % len(FORMS)] for index in range(n_pairs)]
    for form in forms:
        day = generator.choice(short_year_days if "{yy}" in form else days)
        pairs.append((write(form, day, generator), day.isoformat()))
    return pairs, forms


def generate_dates(config: DateDataConfig, seed: int) -> DateData:
    """Training pairs drawn with the run's seed; validation and test pairs are the same for every seed."""
    train_days, validation_days, test_days = split_days(config.held_out_share)
    train, _ = write_many(train_days, config.n_train, seed)
    validation, _ = write_many(validation_days, config.n_validation, 1)
    test, test_forms = write_many(test_days, config.n_test, 2)
    origin = f"Generated: {len(FORMS)} written forms of the dates from {FIRST_YEAR} to {LAST_YEAR}."
    return DateData(SequencePairs(train=train, validation=validation, test=test, origin=origin), test_forms)


def alphabet() -> str:
    """Every character that a written date can have, in any case."""
    days = [date(year, 1, 1) for year in range(FIRST_YEAR, LAST_YEAR + 1)]
    days += [date(2000, 1, 1) + timedelta(days=number) for number in range(366)]
    text = "".join(form.format(**values) for values in map(fields, days) for form in FORMS)
    return "".join(sorted(set(text + text.lower() + text.upper() + " ")))
