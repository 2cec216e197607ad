import ssl

import pytest
from aiosmtplib import SMTPConnectError, SMTPException, SMTPReadTimeoutError, SMTPResponseException

from app.domain.retry import Outcome, Verdict
from app.mail.replies import NotOffered, Phase, classify, failure

CONNECT, MAIL, RCPT, DATA, DOT = Phase
CASES = [
    # greeting, EHLO, STARTTLS, AUTH
    (CONNECT, 421, "4.7.0 try later", Outcome.RETRY_TRANSPORT, "421 4.7.0"),
    (CONNECT, 454, "4.7.0 TLS not available", Outcome.RETRY_TRANSPORT, "454 4.7.0"),
    (CONNECT, 450, "busy", Outcome.RETRY_TRANSPORT, "450"),
    (CONNECT, 554, "no SMTP here", Outcome.SENDER_FAULT, "554"),
    (CONNECT, 535, "5.7.8 bad credentials", Outcome.SENDER_FAULT, "535 5.7.8"),
    (CONNECT, 334, "what?", Outcome.RETRY_TRANSPORT, "334"),
    # MAIL
    (MAIL, 421, "bye", Outcome.RETRY_TRANSPORT, "421"),
    (MAIL, 451, "4.3.0 internal", Outcome.RETRY_TRANSPORT, "451 4.3.0"),
    (MAIL, 452, "4.3.1 disk full", Outcome.RETRY_TRANSPORT, "452 4.3.1"),
    (MAIL, 450, "4.1.8 no such domain now", Outcome.RETRY_RECIPIENT, "450 4.1.8"),
    (MAIL, 530, "5.7.0 log in first", Outcome.SENDER_FAULT, "530 5.7.0"),
    (MAIL, 550, "not you", Outcome.SENDER_FAULT, "550"),
    (MAIL, 553, "5.1.8 bad sender", Outcome.SENDER_FAULT, "553 5.1.8"),
    (MAIL, 550, "5.1.1 who?", Outcome.SENDER_FAULT, "550 5.1.1"),
    (MAIL, 552, "too large", Outcome.BAD_MESSAGE, "552"),
    (MAIL, 552, "5.3.4 too large", Outcome.BAD_MESSAGE, "552 5.3.4"),
    (MAIL, 555, "parameters", Outcome.SENDER_FAULT, "555"),
    # RCPT
    (RCPT, 421, "4.3.2 closing", Outcome.RETRY_TRANSPORT, "421 4.3.2"),
    (RCPT, 450, "4.2.1 busy", Outcome.RETRY_RECIPIENT, "450 4.2.1"),
    (RCPT, 451, "4.7.1 greylisted", Outcome.RETRY_RECIPIENT, "451 4.7.1"),
    (RCPT, 452, "4.2.2 full", Outcome.RETRY_RECIPIENT, "452 4.2.2"),
    (RCPT, 452, "too many", Outcome.RETRY_RECIPIENT, "452"),
    (RCPT, 552, "full", Outcome.RETRY_RECIPIENT, "552"),
    (RCPT, 552, "5.2.2 full", Outcome.RETRY_RECIPIENT, "552 5.2.2"),
    (RCPT, 550, "5.2.2 full", Outcome.RETRY_RECIPIENT, "550 5.2.2"),
    (RCPT, 550, "5.1.1 no such user", Outcome.REFUSED, "550 5.1.1"),
    (RCPT, 550, "#5.1.1 no such user", Outcome.REFUSED, "550 5.1.1"),
    (RCPT, 554, "5.1.1 no such user", Outcome.REFUSED, "554 5.1.1"),
    (RCPT, 550, "5.1.2 no such host", Outcome.REFUSED, "550 5.1.2"),
    (RCPT, 501, "5.1.3 bad address", Outcome.REFUSED, "501 5.1.3"),
    (RCPT, 551, "5.1.6 moved", Outcome.REFUSED, "551 5.1.6"),
    (RCPT, 550, "5.1.10 null MX", Outcome.REFUSED, "550 5.1.10"),
    (RCPT, 556, "5.1.10 null MX", Outcome.REFUSED, "556 5.1.10"),
    (RCPT, 550, "5.2.1 disabled", Outcome.REFUSED, "550 5.2.1"),
    (RCPT, 550, "no such user", Outcome.REFUSED, "550"),
    (RCPT, 551, "not local", Outcome.REFUSED, "551"),
    (RCPT, 553, "not allowed", Outcome.REFUSED, "553"),
    (RCPT, 550, "5.0.0 no", Outcome.REFUSED, "550 5.0.0"),
    (RCPT, 550, "5.1.0 no", Outcome.REFUSED, "550 5.1.0"),
    (RCPT, 550, "4.1.1 of another class", Outcome.REFUSED, "550"),
    (RCPT, 550, "5.7.1 relaying denied", Outcome.SENDER_FAULT, "550 5.7.1"),
    (RCPT, 550, "5.7.515 not authenticated", Outcome.SENDER_FAULT, "550 5.7.515"),
    (RCPT, 550, "5.7.26 no DMARC", Outcome.SENDER_FAULT, "550 5.7.26"),
    (RCPT, 553, "5.1.8 bad sender", Outcome.SENDER_FAULT, "553 5.1.8"),
    (RCPT, 550, "5.1.7 bad sender", Outcome.SENDER_FAULT, "550 5.1.7"),
    (RCPT, 530, "log in first", Outcome.SENDER_FAULT, "530"),
    (RCPT, 554, "no", Outcome.BAD_MESSAGE, "554"),
    (RCPT, 503, "5.5.1 sequence", Outcome.SENDER_FAULT, "503 5.5.1"),
    (DATA, 503, "bad sequence", Outcome.SENDER_FAULT, "503"),
    (DATA, 502, "not implemented", Outcome.SENDER_FAULT, "502"),
    (DOT, 554, "5.3.5 system incorrectly configured", Outcome.SENDER_FAULT, "554 5.3.5"),
    (RCPT, 501, "bad address syntax", Outcome.BAD_MESSAGE, "501"),
    (RCPT, 550, "5.5.0 mailbox unavailable", Outcome.BAD_MESSAGE, "550 5.5.0"),
    (RCPT, 553, "5.6.7 no SMTPUTF8", Outcome.BAD_MESSAGE, "553 5.6.7"),
    # DATA
    (DATA, 421, "bye", Outcome.RETRY_TRANSPORT, "421"),
    (DATA, 451, "4.3.0 later", Outcome.RETRY_RECIPIENT, "451 4.3.0"),
    (DATA, 554, "5.5.1 no valid recipients", Outcome.BAD_MESSAGE, "554 5.5.1"),
    (DATA, 250, "what?", Outcome.RETRY_TRANSPORT, "250"),
    # the final dot
    (DOT, 250, "2.0.0 queued", Outcome.SENT, "250 2.0.0"),
    (DOT, 250, "ok", Outcome.SENT, "250"),
    (DOT, 421, "4.3.2 closing", Outcome.RETRY_TRANSPORT, "421 4.3.2"),
    (DOT, 450, "4.7.1 later", Outcome.RETRY_RECIPIENT, "450 4.7.1"),
    (DOT, 452, "4.3.1 disk full", Outcome.RETRY_RECIPIENT, "452 4.3.1"),
    (DOT, 552, "5.3.4 too large", Outcome.BAD_MESSAGE, "552 5.3.4"),
    (DOT, 552, "too large", Outcome.BAD_MESSAGE, "552"),
    (DOT, 554, "5.6.0 lines", Outcome.BAD_MESSAGE, "554 5.6.0"),
    (DOT, 550, "no", Outcome.BAD_MESSAGE, "550"),
    (DOT, 554, "5.7.1 spam", Outcome.SENDER_FAULT, "554 5.7.1"),
    (DOT, 550, "5.1.1 no such user", Outcome.REFUSED, "550 5.1.1"),
    (DOT, -1, "Malformed", Outcome.UNKNOWN, "-1"),
    (DOT, 354, "what?", Outcome.UNKNOWN, "354"),
]


@pytest.mark.parametrize(("phase", "code", "text", "outcome", "detail"), CASES)
def test_each_reply_has_its_outcome(
    phase: Phase,
    code: int,
    text: str,
    outcome: Outcome,
    detail: str,
) -> None:
    assert classify(phase, code, text) == Verdict(outcome, detail)


def test_the_detail_never_repeats_what_the_server_said() -> None:
    verdict = classify(RCPT, 550, "5.1.1 <reader@example.org> unknown")
    assert "reader" not in verdict.detail


@pytest.mark.parametrize("phase", Phase)
def test_silence_means_nobody_knows_only_after_the_dot(phase: Phase) -> None:
    verdict = failure(phase, SMTPReadTimeoutError("reader@example.org"))
    expected = Outcome.UNKNOWN if phase is DOT else Outcome.RETRY_TRANSPORT
    assert verdict == Verdict(expected, "SMTPReadTimeoutError")


def test_a_failure_is_named_by_its_cause() -> None:
    error = SMTPConnectError("Error connecting")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    verdict = failure(CONNECT, error)
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "ConnectionRefusedError")


@pytest.mark.parametrize("error", [NotOffered("x"), ssl.SSLCertVerificationError(1, "x")])
def test_what_waiting_cannot_mend_is_a_fault_of_ours(error: Exception) -> None:
    assert failure(CONNECT, error).outcome is Outcome.SENDER_FAULT


def test_a_reply_in_an_exception_is_judged_like_any_other() -> None:
    assert failure(MAIL, SMTPResponseException(421, "x")).outcome is Outcome.RETRY_TRANSPORT
    assert failure(CONNECT, SMTPException("x")).outcome is Outcome.RETRY_TRANSPORT
