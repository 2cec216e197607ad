from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import address

LABELS = ".".join(["b" * 61] * 3)  # 185 characters


@pytest.mark.parametrize(
    ("typed", "email", "key"),
    [
        ("ann@example.org", "ann@example.org", "ann@example.org"),
        (" Ann@Example.ORG ", "Ann@example.org", "ann@example.org"),
        ("ann+news@example.org", "ann+news@example.org", "ann+news@example.org"),
        ("o'neill!#$%&*@example.org", "o'neill!#$%&*@example.org", "o'neill!#$%&*@example.org"),
        ("Ann@Bücher.example.org", "Ann@bücher.example.org", "ann@xn--bcher-kva.example.org"),
        ("a@XN--BCHER-KVA.example.org", "a@bücher.example.org", "a@xn--bcher-kva.example.org"),
        ("a@cafe\u0301.example.org", "a@café.example.org", "a@xn--caf-dma.example.org"),
        ("ann@faß.de", "ann@faß.de", "ann@xn--fa-hia.de"),
        # Only ASCII letters are folded: other case mappings differ from language to language.
        ("ÄNN@example.org", "ÄNN@example.org", "Änn@example.org"),
        ("İ@example.org", "İ@example.org", "İ@example.org"),
        ("e\u0301@example.org", "\u00e9@example.org", "\u00e9@example.org"),
        ("\u212aay@example.org", "Kay@example.org", "kay@example.org"),  # NFC: the kelvin sign is K
    ],
)
def test_an_address_is_kept_as_typed_with_one_key_for_all_spellings(
    typed: str, email: str, key: str
) -> None:
    assert address.parse(typed) == address.Address(email, key)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ann",
        "@example.org",
        "ann@",
        "ann@@example.org",
        "ann@example.org,bob@example.org",
        "ann@example.org bob@example.org",
        "Ann <ann@example.org>",
        "<ann@example.org>",
        '"ann"@example.org',
        '"a b"@example.org',
        "ann(comment)@example.org",
        "ann@[127.0.0.1]",
        "ann@localhost",
        "ann@example",
        "ann@example.org.",
        "ann@.example.org",
        "ann@-example.org",
        ".ann@example.org",
        "ann.@example.org",
        "a..nn@example.org",
        "mailto:ann@example.org?bcc=x@example.org",
    ],
)
def test_what_is_no_plain_address_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(ValueError, match="Enter a valid e-mail address") as refusal:
        address.parse(typed)
    assert len(typed) < 13 or typed not in str(refusal.value)


@pytest.mark.parametrize(
    "bad", ["\x00", "\r\n", "\n", "\x7f", "\x85", "\u2028", "\u202e", "\ud800"]
)
@pytest.mark.parametrize("around", ["a{}nn@example.org", "ann@exa{}mple.org", "ann@example.org{}"])
def test_a_control_character_is_refused(bad: str, around: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        address.parse(around.format(bad))


def test_an_encoded_word_is_refused_because_an_address_stands_in_a_header() -> None:
    with pytest.raises(ValueError, match="=\\?"):
        address.parse("=?utf-8?q?a?=@example.org")


@pytest.mark.parametrize(
    ("typed", "octets"),
    [
        ("a" * 64 + "@example.org", 64),
        ("a" * 65 + "@example.org", 65),
        ("é" * 32 + "@example.org", 64),
        ("é" * 32 + "a@example.org", 65),
    ],
)
def test_the_local_part_has_at_most_64_octets(typed: str, octets: int) -> None:
    if octets <= 64:
        assert address.parse(typed).email == typed
    else:
        with pytest.raises(ValueError, match="at most 64 characters before the @"):
            address.parse(typed)


@pytest.mark.parametrize("length", [254, 255])
def test_the_whole_has_at_most_254_octets(length: int) -> None:
    domain = f"{LABELS}.org"
    typed = f"{'a' * (length - len(domain) - 1)}@{domain}"
    assert len(typed) == length
    if length <= 254:
        assert address.parse(typed).key == typed
    else:
        with pytest.raises(ValueError, match=r"254|valid e-mail address"):
            address.parse(typed)


def test_the_length_counts_the_domain_as_it_travels() -> None:
    short_to_the_eye = "a" * 60 + "@" + ".".join(["ü" * 25] * 4) + ".org"
    assert len(short_to_the_eye) < 254
    with pytest.raises(ValueError, match=r"254|valid e-mail address"):
        address.parse(short_to_the_eye)


@settings(deadline=None)
@given(st.emails(), st.randoms())
def test_every_spelling_in_ascii_case_has_the_same_key(typed: str, chance: Random) -> None:
    try:
        parsed = address.parse(typed)
    except ValueError:
        return
    flipped = "".join(c.swapcase() if chance.random() < 0.5 else c for c in typed)
    assert address.parse(flipped).key == parsed.key
    assert address.parse(parsed.email) == parsed
    assert address.parse(parsed.key).key == parsed.key
    assert parsed.key.rpartition("@")[2].isascii()


@pytest.mark.parametrize(
    ("key", "folded"),
    [
        ("ann@example.org", "ann@example.org"),
        ("ann+a@example.org", "ann@example.org"),
        ("ann+a+b@example.org", "ann@example.org"),
        ("+a@example.org", "+a@example.org"),
        ("a.n.n@example.org", "a.n.n@example.org"),
        ("a.n.n+x@gmail.com", "ann@gmail.com"),
        ("a.nn@googlemail.com", "ann@gmail.com"),
        ("a.nn@gmail.com.example.org", "a.nn@gmail.com.example.org"),
    ],
)
def test_what_one_person_can_vary_is_folded_against_abuse(key: str, folded: str) -> None:
    assert address.abuse_key(key) == folded


@pytest.mark.parametrize(
    ("email", "sent_to"),
    [
        ("Ann@example.org", "Ann@example.org"),
        ("Ann@bücher.example.org", "Ann@xn--bcher-kva.example.org"),
        ("ÄNN@example.org", "ÄNN@example.org"),
    ],
)
def test_the_envelope_has_the_local_part_as_typed_and_the_domain_in_ascii(
    email: str, sent_to: str
) -> None:
    assert address.envelope(email) == sent_to
