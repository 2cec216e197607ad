"""Mail servers that are slow, strict, broken or hostile: a mail waits, and arrives once."""

from app.db.tables import outbox, suppressions
from tests.chaos.relays import DROP, HANG, LOSE, Phase, always, once_each, only_for
from tests.chaos.stages import Stage, people
from tests.journeys.processes import wait_until
from tests.mail.conftest import Certificate

MAILS = 10
PHASES = [Phase.GREETING, Phase.EHLO, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT]


def _reached(stage: Stage) -> set[str]:
    return {mail.recipient for mail in stage.relay.taken}


def test_a_server_that_greylists_gets_each_mail_once(stage: Stage) -> None:
    stage.relay.answers[Phase.RCPT] = once_each("451 4.7.1 try again later")
    stage.database.sign_up(people(MAILS))
    stage.start(2)
    wait_until(lambda: stage.database.states()["waiting"] == MAILS)
    assert stage.relay.taken == []
    stage.drain()
    assert [mail.refusal[:3] for mail in stage.relay.mails].count("451") == MAILS
    assert stage.copies() == {}


def test_a_server_that_closes_with_421_in_any_phase_gets_each_mail_once(stage: Stage) -> None:
    stage.start(2)
    for number, phase in enumerate(PHASES):
        stage.relay.drop_all()
        stage.relay.answers = {phase: once_each("421 4.3.2 shutting down")}
        stage.database.sign_up(people(MAILS, number * MAILS))
        stage.drain()
    assert stage.copies() == {}


def test_a_server_that_hangs_in_any_phase_stops_one_connection_and_no_more(stage: Stage) -> None:
    stage.start(2)
    for number, phase in enumerate(PHASES):
        asked = people(MAILS, number * MAILS)
        stage.relay.drop_all()
        early = phase in {Phase.GREETING, Phase.EHLO, Phase.MAIL}
        stage.relay.answers = {phase: once_each(HANG) if early else only_for(asked[0], HANG)}
        stage.database.sign_up(asked)
        wait_until(lambda: stage.relay.parked(phase) == 1)  # noqa: B023
        wait_until(lambda: stage.database.states()["leased"] == 1)
        stage.relay.release()
        stage.drain()
    assert stage.copies() == {}


def test_a_connection_lost_after_the_dot_costs_one_copy_with_the_same_message_id(
    stage: Stage,
) -> None:
    stage.relay.answers[Phase.DOT] = once_each(DROP)
    stage.database.sign_up(people(MAILS))
    stage.start(2)
    stage.drain()
    assert list(stage.copies().values()) == [1] * MAILS


def test_a_mail_that_the_server_lost_with_the_connection_is_sent_again(stage: Stage) -> None:
    stage.relay.answers[Phase.DOT] = once_each(LOSE)
    stage.database.sign_up(people(MAILS))
    stage.start(2)
    stage.drain()
    assert len(stage.relay.mails) == 2 * MAILS
    assert stage.copies() == {}


def test_a_server_that_refuses_one_of_many_gets_all_others(stage: Stage) -> None:
    unknown, *others = people(MAILS)
    stage.relay.answers[Phase.RCPT] = only_for(unknown, "550 5.1.1 no such user")
    stage.database.sign_up([unknown, *others])
    stage.start(1)
    stage.drain()
    assert stage.database.states() == {"sent": MAILS - 1, "failed": 1}
    assert _reached(stage) == set(others)
    suppressed = stage.database.read(lambda c: c.execute(suppressions.select()).all())
    assert [row.reason for row in suppressed] == ["hard_bounce"]


def test_a_server_that_does_not_trust_us_blames_no_subscriber(stage: Stage) -> None:
    stage.relay.answers[Phase.DOT] = always("550 5.7.26 unauthenticated mail is not accepted")
    stage.database.sign_up(people(MAILS))
    stage.start(2)
    wait_until(lambda: stage.database.states() == {"waiting": MAILS})
    wait_until(lambda: stage.database.mails(outbox.c.outcome.like("sender_fault%")))
    assert stage.database.read(lambda c: c.execute(suppressions.select()).all()) == []
    stage.relay.answers.clear()
    stage.drain()
    assert stage.database.states() == {"sent": MAILS}


def test_commands_run_ahead_only_where_the_server_can_take_it(stage: Stage) -> None:
    stage.start(1)
    stage.database.sign_up(people(MAILS))
    stage.drain()
    assert stage.relay.links[-1].has_run_ahead
    stage.relay.offers.remove("PIPELINING")
    stage.relay.drop_all()
    stage.database.sign_up(people(MAILS, MAILS))
    stage.drain()
    assert not stage.relay.links[-1].has_run_ahead
    assert stage.copies() == {}


def test_a_server_that_speaks_garbage_in_any_phase_gets_each_mail(stage: Stage) -> None:
    stage.start(2)
    for number, phase in enumerate(PHASES):
        before = stage.copies()
        stage.relay.drop_all()
        stage.relay.answers = {phase: once_each("\x00\x7fHTTP/1.1 200 OK")}
        stage.database.sign_up(people(MAILS, number * MAILS))
        stage.drain()
        assert (stage.copies() == before) is (phase is not Phase.DOT)


def _trusting(stage: Stage, certificate: Certificate) -> None:
    """Start a worker that insists on encryption."""
    stage.nursery.environment["SSL_CERT_FILE"] = str(certificate.files[0])
    stage.database.sign_up(people(MAILS))
    stage.start(2, "?starttls=yes", "localhost")


def _rests(stage: Stage) -> bool:
    return bool(stage.database.mails(outbox.c.outcome.is_not(None)))


def _said_in_clear(stage: Stage) -> set[str]:
    return {verb for link in stage.relay.links for verb in link.in_clear}


def test_without_encryption_where_it_is_required_all_mail_waits(
    stage: Stage, certificate: Certificate
) -> None:
    _trusting(stage, certificate)
    wait_until(lambda: _rests(stage))
    assert stage.relay.mails == []
    stage.relay.tls = certificate.server
    stage.drain()
    assert _said_in_clear(stage) <= {"EHLO", "STARTTLS", "QUIT"}
    assert stage.database.states() == {"sent": MAILS}


def test_what_is_said_before_the_handshake_is_not_believed(
    stage: Stage, certificate: Certificate
) -> None:
    stage.relay.tls = certificate.server
    stage.relay.injected = (
        b"250 nothing to offer\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 queued\r\n"
    )
    _trusting(stage, certificate)
    stage.drain()
    assert _said_in_clear(stage) <= {"EHLO", "STARTTLS", "QUIT"}
    # Who believed the forged offers would not run ahead.
    assert all(stage.relay.links[mail.connection - 1].has_run_ahead for mail in stage.relay.mails)
    assert stage.database.states() == {"sent": MAILS}
    assert stage.copies() == {}
