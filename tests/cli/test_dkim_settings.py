from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from tests.cli.test_bad_input import refusal
from tests.journeys.processes import Installation

SECRET = b"a password"


def pem(key: PrivateKeyTypes, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


FILES: dict[str, Callable[[], bytes]] = {
    "good.pem": lambda: pem(rsa_key()),
    "text.pem": lambda: b"this is not a key",
    "encrypted.pem": lambda: pem(rsa_key(), SECRET),
    "short.pem": lambda: pem(rsa_key(1024)),
    "ed25519.pem": lambda: pem(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.fixture
def signing(open_house: Installation) -> Installation:
    """An installation that could sign, and files of which only one is a fit key."""
    for name, make in FILES.items():
        (open_house.folder / name).write_bytes(make())
    open_house.environment |= {
        "NEWSLETTER_DKIM_DOMAIN": "example.org",
        "NEWSLETTER_DKIM_SELECTOR": "news",
        "NEWSLETTER_DKIM_KEY": "good.pem",
    }
    return open_house


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KEY", "text.pem", "not a private key"),
        ("KEY", "none.pem", "cannot be read"),
        ("KEY", ".", "cannot be read"),
        ("KEY", "encrypted.pem", "encrypted"),
        ("KEY", "short.pem", "2048"),
        ("KEY", "ed25519.pem", "RSA"),
        ("KEY", "", "is missing"),
        ("DOMAIN", "", "is missing"),
        ("SELECTOR", "", "is missing"),
        ("DOMAIN", "not a domain", "example.org"),
        ("SELECTOR", "a;b", "letters"),
    ],
)
@pytest.mark.parametrize("command", [["work"], ["serve", "--port", "1"]], ids=["work", "serve"])
def test_signing_that_is_set_up_wrongly_keeps_the_service_from_starting(
    signing: Installation, command: list[str], name: str, value: str, said: str
) -> None:
    signing.environment[f"NEWSLETTER_DKIM_{name}"] = value
    line = refusal(signing.run(*command))
    assert f"NEWSLETTER_DKIM_{name}" in line
    assert said in line
    assert "MII" not in line


def test_all_that_is_missing_is_named(signing: Installation) -> None:
    del signing.environment["NEWSLETTER_DKIM_DOMAIN"], signing.environment["NEWSLETTER_DKIM_KEY"]
    line = refusal(signing.run("work"))
    assert "NEWSLETTER_DKIM_DOMAIN is missing, NEWSLETTER_DKIM_KEY is missing" in line
    assert "SELECTOR is" not in line
