"""The word-by-word baseline."""

from transformer_from_scratch.word_translation import join_words, learn_dictionary, split_words, translate_words

PAIRS = [
    ("the dog runs.", "der Hund rennt."),
    ("the dog sleeps.", "der Hund schläft."),
    ("the cat sleeps.", "die Katze schläft."),
    ("a cat!", "eine Katze!"),
    ("the man", "der Mann"),
]


def test_the_dictionary_has_the_highest_dice_coefficient_of_each_word() -> None:
    dictionary = learn_dictionary(PAIRS)
    assert dictionary["dog"] == "Hund"  # 2·2/(2+2) = 1; "der" has 2·2/(2+3)
    assert dictionary["cat"] == "Katze"
    assert dictionary["sleeps"] == "schläft"
    assert dictionary["the"] == "der"  # 2·3/(4+3), as has ".", which is met later


def test_words_are_translated_in_place_and_unknown_ones_copied() -> None:
    assert translate_words("sleeps Rex, dog?", learn_dictionary(PAIRS)) == "schläft Rex, Hund?"


def test_words_and_marks_are_split_and_joined() -> None:
    text = "Well, it's 5 o'clock (sharp)!"
    assert split_words(text) == ["Well", ",", "it", "'", "s", "5", "o", "'", "clock", "(", "sharp", ")", "!"]
    assert join_words(["Nun", ",", "es", "ist", "5", "(", "Uhr", ")", "!"]) == "Nun, es ist 5 ( Uhr)!"
