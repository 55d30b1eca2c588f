"""Characters that an output cannot show."""

import pytest

from funcnn.characters import encodable, printable, visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat [old] :cat: ß 猫 e\u0301 C:\\new", "cat [old] :cat: ß 猫 e\u0301 C:\\new"),
        ("\x1b[31mred\x1b[0m\x07", r"\x1b[31mred\x1b[0m\x07"),
        ("a\nb\rc\td\x0be\x85f\u2028g", r"a\nb\rc\td\x0be\x85f\u2028g"),
        ("gnp.\u202egod\u2066", r"gnp.\u202egod\u2066"),
        ("a\u200bb\ufeffc\u034fd\u3164\U000e0041", r"a\u200bb\ufeffc\u034fd\u3164\U000e0041"),
        (b"caf\xe9".decode("utf-8", "surrogateescape") + "\ud800", r"caf\xe9\ud800"),
    ],
)
def test_what_is_not_seen_is_escaped(name, shown):
    assert visible(name) == shown == visible(shown)
    assert printable(name, "utf-8") == shown


def test_what_is_not_seen_is_escaped_in_any_encoding():
    for encoding in ("ascii", "cp1252", "gb18030", "utf-16", "shift_jis"):
        assert printable("a\x1b\udce9", encoding) == r"a\x1b\xe9"


def test_whether_an_encoding_has_a_character():
    assert encodable("█±", "utf-8") and encodable("±", "cp1252")
    assert not encodable("█", "cp1252") and not encodable("±", "ascii")


def test_what_stands_for_a_character_that_is_missing():
    assert printable("a±█", "utf-8") == printable("a±█", "utf-8", "replace") == "a±█"
    assert printable("a±█", "cp1252") == r"a±\u2588"
    assert printable("a±█", "ascii", "replace") == "a??"
