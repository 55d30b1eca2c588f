"""Characters that an encoding lacks."""

from funcnn.characters import encodable, printable


def test_whether_an_encoding_has_a_character():
    assert encodable("█±", "utf-8") and encodable("±", "cp1252")
    assert not encodable("█", "cp1252") and not encodable("±", "ascii")


def test_what_stands_for_a_character_that_is_missing():
    assert printable("a±█", "utf-8") == printable("a±█", "utf-8", "replace") == "a±█"
    assert printable("a±█", "cp1252") == r"a±\u2588"
    assert printable("a±█", "ascii", "replace") == "a??"
