import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import dkim as verifier  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption
from hypothesis import given
from hypothesis import strategies as st

from app.mail.connections import Server, Tls
from app.mail.dkim import SIGNED, Signer, open_signer, relaxed_body
from app.mail.message import parse
from app.mail.smtp import SmtpTransport
from tests.mail.letters import HEADERS, KINDS, fill, message
from tests.mail.servers import receiving

KEY = rsa.generate_private_key(65537, 2048)
SIGNER = Signer("example.org", "news", KEY)
LETTER = fill()
SENT = SIGNER.sign(LETTER)
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8

Record = Callable[..., bytes]


def published(key: rsa.RSAPrivateKey = KEY) -> Record:
    """Return what the DNS answers: the key, only for the selector and domain that it belongs to."""
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def answer(name: bytes, timeout: int = 5) -> bytes:
        assert timeout
        known = name == b"news._domainkey.example.org."
        return b"v=DKIM1; k=rsa; p=" + b64encode(der) if known else b""

    return answer


def verifies(content: bytes, record: Record = published()) -> bool:  # noqa: B008 - the key is one
    try:
        return bool(verifier.DKIM(content).verify(dnsfunc=record))
    except verifier.DKIMException:
        return False


def on_the_wire(content: bytes) -> bytes:
    """Return what SMTP makes of a mail: its last line has an end."""
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def signature_in(content: bytes) -> str:
    value = parse(content)["DKIM-Signature"]
    return re.sub(r"\s", "", str(value))


@pytest.mark.parametrize("kind", KINDS)
def test_another_program_verifies_every_kind_of_mail(kind: str) -> None:
    assert verifies(SIGNER.sign(fill(kind)))
    assert verifies(SIGNER.sign(fill(kind, reply_to=None, from_name="Häfen " * 12)))


def test_the_signature_stands_first_and_leaves_the_mail_as_it_is() -> None:
    assert SENT.endswith(b"\r\n" + LETTER)
    assert parse(SENT).keys() == ["DKIM-Signature", *HEADERS]
    header = SENT.removesuffix(LETTER)
    assert header.count(b"\r\n") == header.count(b"\n") == header.count(b"\r")
    assert max(map(len, header.split(b"\r\n"))) <= 78


def test_the_signature_says_what_the_rules_ask_for() -> None:
    tags = dict(tag.split("=", 1) for tag in signature_in(SENT).split(";"))
    assert list(tags) == ["v", "a", "c", "d", "s", "h", "bh", "b"]
    assert (tags["a"], tags["c"]) == ("rsa-sha256", "relaxed/relaxed")
    names = tags["h"].split(":")
    assert {name: names.count(name) for name in names} == dict.fromkeys(SIGNED, 2)
    assert {"From", "List-Unsubscribe", "List-Unsubscribe-Post"} < set(names)


def test_every_attempt_has_the_same_bytes() -> None:
    assert SIGNER.sign(LETTER) == SENT


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_was_changed_removed_or_added_breaks_it(name: str) -> None:
    [line] = re.findall(
        rb"(?m)^%b:(?:.|\r\n[ \t])*\r\n" % name.encode(), SENT.split(b"\r\n\r\n")[0]
    )
    assert verifies(SENT)
    assert not verifies(SENT.replace(line, line[:-2] + b"x\r\n", 1)), "changed"
    assert not verifies(SENT.replace(line, b"", 1)), "removed"
    added = name.encode() + b": evil@example.net\r\n"
    assert not verifies(SENT.replace(line, line + added, 1)), "added behind it"
    assert not verifies(added + SENT), "added at the top"


def test_a_header_that_the_mail_does_not_have_cannot_be_added() -> None:
    sent = SIGNER.sign(fill(reply_to=None))
    assert verifies(sent)
    assert not verifies(b"Reply-To: evil@example.net\r\n" + sent)


@pytest.mark.parametrize("change", [b"x", b"\r\nmore\r\n", b"\r\n.\r\n"])
def test_a_body_that_was_changed_breaks_it(change: bytes) -> None:
    assert not verifies(SENT + change)
    assert not verifies(SENT.replace(b"\r\n\r\n", b"\r\n\r\n" + change, 1))
    assert not verifies(SENT[:-20])


def test_another_key_breaks_it() -> None:
    assert not verifies(SENT, published(rsa.generate_private_key(65537, 2048)))


def test_what_relays_do_to_white_space_does_not_break_it() -> None:
    relayed = SENT.replace(b"Subject: ", b"SUBJECT:   ").replace(b"\r\nTo: ", b"\r\nTo:\t")
    assert relayed != SENT
    assert verifies(relayed + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("body", "canonical"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b" \t\r\n\r\n \r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),  # RFC 6376 3.4.5
        (b"no end", b"no end\r\n"),
        (b"ends with a blank ", b"ends with a blank\r\n"),
        (b"a\r\n\r\n \r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
        (b"\t\tindented\t\r\n", b" indented\r\n"),
    ],
)
def test_a_body_is_made_canonical_as_the_rules_say(body: bytes, canonical: bytes) -> None:
    assert relaxed_body(body) == canonical
    sent = SIGNER.sign(b"From: a@example.org\r\n\r\n" + body)
    assert verifies(on_the_wire(sent))
    assert f"bh={b64encode(sha256(canonical).digest()).decode()};" in signature_in(sent)


lines = st.lists(st.text("ab: \t=.é", max_size=12), max_size=8).map("\r\n".join)


@given(body=lines, subject=st.text("ab: \t=", max_size=30))
def test_whatever_the_mail_it_verifies(body: str, subject: str) -> None:
    content = f"From: a@example.org\r\nSubject:{subject}\r\n\r\n{body}".encode()
    assert verifies(on_the_wire(SIGNER.sign(content)))


def test_a_mail_with_only_a_head_is_signed_too() -> None:
    assert verifies(SIGNER.sign(b"From: a@example.org\r\nSubject: no body\r\n\r\n"))


def test_long_names_are_folded_where_they_can_be() -> None:
    domain = ".".join(["a" * 60] * 3) + ".example.org"
    header = Signer(domain, "s" * 40, KEY).sign(LETTER).removesuffix(LETTER)
    assert f"d={domain};" in signature_in(header + LETTER)
    assert sorted(map(len, header.split(b"\r\n")))[-2] <= 78


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b".\r\n..\r\n.dot\r\n", b"no end", b"a\r\n.\r\n\r\n\r\n"])
async def test_what_a_server_receives_verifies_dots_and_all(body: bytes) -> None:
    content = b"From: news@example.org\r\nSubject: dots\r\n\r\n" + body
    letters = [SIGNER.sign(content), SENT]
    async with receiving() as inbox:
        transport = SmtpTransport(Server("127.0.0.1", inbox.port, Tls.NONE), 1)
        for number, letter in enumerate(letters):
            await transport.send(message(number, content=letter))
        await transport.close()
    assert len(inbox.contents) == 2
    assert all(verifies(received) for received in inbox.contents)


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "dkim.pem"
    path.write_bytes(content)
    return path


def test_a_key_is_read_from_its_file_and_shown_nowhere(tmp_path: Path) -> None:
    for form in (PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        path = stored(tmp_path, KEY.private_bytes(PEM, form, NoEncryption()))
        signer = open_signer("Example.org", "News", path)
        assert signer.sign(LETTER) == SENT
        assert "key" not in repr(signer).lower()


def _private(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey,
) -> bytes:
    return key.private_bytes(PEM, PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a private key"),
        (b"not a key at all", "not a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nMIIEvQ==\n-----END PRIVATE KEY-----\n", "not a private"),
        (
            KEY.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            "not a private key",
        ),
        (KEY.private_bytes(PEM, PKCS8, BestAvailableEncryption(b"pw")), "encrypted"),
        (_private(rsa.generate_private_key(65537, 1024)), "2048"),  # noqa: S505 - it is refused
        (_private(ed25519.Ed25519PrivateKey.generate()), "RSA"),
        (_private(ec.generate_private_key(ec.SECP256R1())), "RSA"),
    ],
    ids=["empty", "text", "broken", "public", "encrypted", "short", "ed25519", "elliptic"],
)
def test_a_file_without_a_fit_key_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^DKIM_KEY: .*{said}") as refused:
        open_signer("example.org", "news", stored(tmp_path, content))
    assert "MII" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pem"):
        with pytest.raises(ValueError, match=r"^DKIM_KEY: the file cannot be read"):
            open_signer("example.org", "news", path)


@pytest.mark.parametrize(
    ("domain", "selector", "named"),
    [
        ("", "news", "DKIM_DOMAIN"),
        ("example", "news", "DKIM_DOMAIN"),
        ("exa mple.org", "news", "DKIM_DOMAIN"),
        ("bücher.example", "news", "DKIM_DOMAIN"),
        ("example.org;l=0", "news", "DKIM_DOMAIN"),
        ("example.org\r\nBcc: x", "news", "DKIM_DOMAIN"),
        ("example.org", "", "DKIM_SELECTOR"),
        ("example.org", "a_b", "DKIM_SELECTOR"),
        ("example.org", "a..b", "DKIM_SELECTOR"),
        ("example.org", "a\n", "DKIM_SELECTOR"),
        ("example.org", ".".join(["s" * 60] * 4), "DKIM_SELECTOR"),
    ],
)
def test_names_that_cannot_be_in_the_dns_are_refused(
    tmp_path: Path, domain: str, selector: str, named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named}: "):
        open_signer(domain, selector, tmp_path)
