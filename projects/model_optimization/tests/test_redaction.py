"""Personal data, and look-alikes that must stay."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_optimization.monitoring.redaction import chinese_identity, luhn, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ann.lee+film@mail.example.org today", "write to [EMAIL] today"),
        ("邮箱是zhang_san@example.com.cn谢谢", "邮箱是[EMAIL]谢谢"),
        ("a＠b.example", "[EMAIL]"),
        ("电话13812345678，谢谢", "电话[PHONE]，谢谢"),
        ("call +86 138-1234-5678 now", "call [PHONE] now"),
        ("手机 １３８１２３４５６７８", "手机 [PHONE]"),
        ("office 010-12345678", "office [PHONE]"),
        ("+44 20 7946 0958 or +1 (555) 123-4567", "[PHONE] or [PHONE]"),
        ("(555) 234-5678 and 555-234-5678", "[PHONE] and [PHONE]"),
        ("appelez le 06 12 34 56 78", "appelez le [PHONE]"),
        ("身份证11010519491231002X。", "身份证[ID]。"),
        ("paid with 4111 1111 1111 1111!", "paid with [CARD]!"),
        ("5500-0000-0000-0004", "[CARD]"),
        ("from 192.168.10.1:8080", "from [IP]:8080"),
        ("2001:db8::ff00:42:8329 and fe80::1", "[IP] and [IP]"),
        ("https://x.example/a?token=abc123&q=film#top", "https://x.example/a?token=[SECRET]&q=film#top"),
        ("https://bob:pa55@x.example/", "https://[SECRET]@x.example/"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: Bearer [SECRET]"),
        ("key sk-abcdefghijklmnopqrstuvwx", "key [SECRET]"),
    ],
)
def test_what_is_personal_goes(text: str, expected: str) -> None:
    assert redact(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "@lee loved it at 10:30, a @ b",
        "order 12345678901 and 1381234567 and 138123456789",
        "11010519491231002１ is no identity number, nor is 110105194913310027",
        "4111 1111 1111 1112 fails Luhn, 1234 5678 9012 is short",
        "0000 0000 0000 0000",
        "ISBN 978-3-16-148410-0, time 1700000000000 ms",
        "version 10.2.1.4, v1.2.3.4 and 1.2.3.4.5, 300.1.2.3",
        "it cost 1,299.00 in 2024-01-15, 3-2 at half time",
        "std::vector and a::b at 12:30:45",
        "https://x.example/a?q=token&page=2",
        "+100 points, 10-year-old, 24/7, 1-800",
        "the bearer of good news",
        "这部电影很好看，评分9.8，共120分钟",
    ],
)
def test_look_alikes_stay(text: str) -> None:
    assert redact(text).text == text


def test_what_was_found_is_counted() -> None:
    assert redact("a@b.example, c@d.example, 13812345678").found == {"EMAIL": 2, "PHONE": 1}


def test_luhn_finds_every_single_wrong_digit_and_nearly_all_swaps() -> None:
    chance = random.Random(0)
    for _ in range(50):
        digits = [chance.randrange(10) for _ in range(15)]
        check = next(last for last in range(10) if luhn("".join(map(str, [*digits, last]))))
        number = [*digits, check]
        for place in range(16):
            wrong = [*number]
            wrong[place] = (wrong[place] + chance.randrange(1, 10)) % 10
            assert not luhn("".join(map(str, wrong)))
        for place in range(15):
            a, b = number[place : place + 2]
            swapped = [*number[:place], b, a, *number[place + 2 :]]
            # Only 09 and 90 cannot be told apart by this scheme.
            assert luhn("".join(map(str, swapped))) == (a == b or {a, b} == {0, 9})


def test_the_identity_number_of_the_standard() -> None:
    # GB 11643-1999, appendix: the two examples.
    assert chinese_identity("11010519491231002X")
    assert chinese_identity("440524188001010014")
    assert not chinese_identity("440524188001010015")
    assert not chinese_identity("440524188013010014"), "no thirteenth month"


@given(st.text(max_size=300))
def test_any_text_is_taken_and_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once.text).text == once.text
    if not once.found:
        assert once.text == text


def test_long_texts_that_nearly_match_take_no_long_time() -> None:
    for piece in (
        "a" * 50_000,
        "1" * 50_000,
        "1." * 25_000,
        "a@" * 25_000,
        "1:" * 25_000,
        "4 " * 25_000,
        "?key=" * 9_000,
    ):
        redact(piece)
