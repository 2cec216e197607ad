from base64 import b64encode
from dataclasses import replace

import dkim as verifier  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.domain.retry import Outcome, Verdict
from app.mail.dkim import Signer
from app.mail.message import Message
from app.services import return_paths
from tests.conftest import Clock
from tests.worker.stage import Scripted, Stage

pytestmark = pytest.mark.anyio
KEY = rsa.generate_private_key(65537, 2048)


def record(_name: bytes, timeout: int = 5) -> bytes:
    assert timeout
    der = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; p=" + b64encode(der)


def verifies(mail: Message) -> bool:
    return bool(verifier.DKIM(mail.content).verify(dnsfunc=record))


async def test_every_try_has_the_same_signature_and_return_path(
    stage: Stage, transport: Scripted, clock: Clock
) -> None:
    signer = Signer("example.org", "news", KEY)
    house = replace(stage.house, dkim=signer, bounce_address="bounces@example.org")
    stage = replace(stage, house=house)
    await stage.ask("ann@example.org")
    transport.script["ann@example.org"] = [Verdict(Outcome.RETRY_RECIPIENT, "450")]
    await stage.deliver(transport)
    clock.advance(hours=1)
    await stage.deliver(transport)

    first, second = transport.tried
    assert first == second
    assert verifies(first)
    assert return_paths.read(house, first.sender) == first.id
    assert first.sender.startswith("bounces+")
    assert b"From: " in first.content
    assert b"bounces+" not in first.content


async def test_without_the_settings_mail_leaves_as_before(
    stage: Stage, transport: Scripted
) -> None:
    await stage.ask("ann@example.org")
    await stage.deliver(transport)
    [mail] = transport.tried
    assert mail.sender == "in@example.org"
    assert b"DKIM-Signature" not in mail.content
