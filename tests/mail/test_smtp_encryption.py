import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.connections import Server, Timeouts, Tls
from app.mail.smtp import SmtpTransport
from tests.mail.conftest import Certificate
from tests.mail.letters import message
from tests.mail.servers import receiving, scripted

pytestmark = pytest.mark.anyio
LOGIN = ("me@example.org", "s3cret/ü")
OFFERED = {"EHLO": "250-server\r\n250 STARTTLS", "STARTTLS": "220 go"}


async def send(server: Server, certificate: Certificate | None = None) -> Verdict:
    context = certificate.client if certificate else None
    transport = SmtpTransport(server, 1, Timeouts(connect=1), context)
    try:
        return await transport.send(message())
    finally:
        await transport.close()


async def test_starttls_encrypts_before_anything_is_said(certificate: Certificate) -> None:
    async with receiving(tls_context=certificate.server, require_starttls=True) as inbox:
        verdict = await send(Server("localhost", inbox.port, Tls.STARTTLS), certificate)
    assert verdict.outcome is Outcome.SENT
    assert len(inbox.envelopes) == 1


async def test_smtps_is_encrypted_from_the_start(certificate: Certificate) -> None:
    async with receiving(ssl_context=certificate.server) as inbox:
        verdict = await send(Server("localhost", inbox.port, Tls.IMPLICIT), certificate)
    assert verdict.outcome is Outcome.SENT


async def test_a_login_goes_over_the_encrypted_connection(certificate: Certificate) -> None:
    async with receiving(tls_context=certificate.server, with_login=True) as inbox:
        verdict = await send(Server("localhost", inbox.port, Tls.STARTTLS, *LOGIN), certificate)
    assert verdict.outcome is Outcome.SENT
    assert inbox.logins == [b"me@example.org"]


async def test_a_wrong_password_is_our_fault(certificate: Certificate) -> None:
    async with receiving(tls_context=certificate.server, with_login=True) as inbox:
        server = Server("localhost", inbox.port, Tls.STARTTLS, "me", "wrong")
        assert await send(server, certificate) == Verdict(Outcome.SENDER_FAULT, "535 5.7.8")
    assert inbox.envelopes == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Certificate) -> None:
    async with scripted(certificate.server, **OFFERED) as odd:
        verdict = await send(Server("localhost", odd.port, Tls.STARTTLS, *LOGIN))
    assert verdict == Verdict(Outcome.SENDER_FAULT, "SSLCertVerificationError")
    assert odd.verbs() == ["EHLO", "STARTTLS"]


async def test_a_certificate_for_another_host_is_refused(certificate: Certificate) -> None:
    async with scripted(certificate.server, **OFFERED) as odd:
        server = Server("127.0.0.1", odd.port, Tls.STARTTLS, *LOGIN)
        verdict = await send(server, certificate)
    assert verdict == Verdict(Outcome.SENDER_FAULT, "SSLCertVerificationError")
    assert odd.verbs() == ["EHLO", "STARTTLS"]


async def test_smtps_refuses_a_certificate_in_the_same_way(certificate: Certificate) -> None:
    async with receiving(ssl_context=certificate.server) as inbox:
        verdict = await send(Server("localhost", inbox.port, Tls.IMPLICIT, *LOGIN))
    assert verdict == Verdict(Outcome.SENDER_FAULT, "SSLCertVerificationError")
    assert (inbox.envelopes, inbox.logins) == ([], [])


async def test_without_starttls_nothing_is_sent_in_clear() -> None:
    async with scripted() as odd:
        verdict = await send(Server("127.0.0.1", odd.port, Tls.STARTTLS, *LOGIN))
    assert verdict == Verdict(Outcome.SENDER_FAULT, "TlsNotOffered")
    assert [line.split(" ")[0] for line in odd.heard[0] if line] == ["EHLO"]


async def test_starttls_that_is_out_of_order_is_tried_again() -> None:
    async with scripted(EHLO="250-server\r\n250 STARTTLS", STARTTLS="454 4.7.0 not now") as odd:
        verdict = await send(Server("127.0.0.1", odd.port, Tls.STARTTLS, *LOGIN))
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "454 4.7.0")
    assert odd.verbs() == ["EHLO", "STARTTLS"]


async def test_an_answer_in_clear_to_the_handshake_is_tried_again() -> None:
    async with scripted(
        EHLO="250-server\r\n250 STARTTLS", STARTTLS="220 go\r\n250 injected"
    ) as odd:
        verdict = await send(Server("127.0.0.1", odd.port, Tls.STARTTLS, *LOGIN))
    assert verdict.outcome is Outcome.RETRY_TRANSPORT


async def test_a_server_without_login_is_our_fault() -> None:
    async with scripted() as odd:
        verdict = await send(Server("127.0.0.1", odd.port, Tls.NONE, *LOGIN))
    assert verdict == Verdict(Outcome.SENDER_FAULT, "LoginNotOffered")
    assert odd.verbs() == ["EHLO"]


async def test_a_login_that_is_out_of_order_is_tried_again() -> None:
    async with scripted(EHLO="250-server\r\n250 AUTH PLAIN", AUTH="454 4.7.0 later") as odd:
        verdict = await send(Server("127.0.0.1", odd.port, Tls.NONE, *LOGIN))
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "454 4.7.0")
