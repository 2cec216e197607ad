import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.message import Message
from app.main import house_of
from app.services import outbox
from app.services.outbox import Tried
from app.settings import Settings
from tests.cli.test_bad_input import refusal
from tests.cli.test_commands import in_database, sign_up
from tests.journeys.processes import SECRETS, Installation, wait_until
from tests.mail.dovecot import Dovecot, dovecot
from tests.mail.returned import complaint, out_of_office, postfix
from tests.mail.servers import free_port

BOUNCES = "bounces@example.org"
PASSWORD = "a-password"  # noqa: S105


@pytest.fixture(scope="module")
def imap() -> Iterator[Dovecot]:
    with dovecot() as server:
        yield server


def send(house: Installation, *emails: str) -> list[Message]:
    """Sign people up; return the mail that each of them has got, as it left."""
    house.environment["NEWSLETTER_BOUNCE_ADDRESS"] = BOUNCES
    sign_up(house, *emails)
    rules = house_of(
        Settings.without_file(
            base_url="http://127.0.0.1:8000",
            secret_keys=(SECRETS["NEWSLETTER_SECRET_KEYS"],),
            hash_key=SECRETS["NEWSLETTER_HASH_KEY"],
            bounce_address=BOUNCES,
        )
    )
    hand = in_database(house, outbox.claim, rules, "worker", "test", 500)
    tried = [Tried(lease, Verdict(Outcome.SENT)) for lease in hand.leases]
    in_database(house, outbox.settle, rules, "test", tried)
    return [outbox.message(rules, lease, hand.letterheads["insights"]) for lease in hand.leases]


def reports_on(mails: list[Message]) -> list[bytes]:
    """Return three hard bounces, two soft ones, a complaint, five other mails and a stray one."""
    stray = postfix(number=99)
    told = [postfix(to=mail.sender, number=n) for n, mail in enumerate(mails[:3])]
    told += [postfix("4.2.2", to=m.sender, number=n) for n, m in enumerate(mails[3:5], start=3)]
    told.append(complaint(original=mails[5].content))
    return [*told, stray, *[out_of_office().replace(b"<ooo", b"<%d" % n) for n in range(5)]]


SAID = "read 12: 3 hard bounces, 1 complaint, 2 soft bounces, 5 ignored, 1 unmatched"
PEOPLE = [f"reader{number}@example.org" for number in range(6)]


def maildir(house: Installation, *mails: bytes) -> Path:
    path = house.folder / "reports"
    for name in ("tmp", "new", "cur"):
        (path / name).mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(mails):
        (path / "new" / f"{number}.host").write_bytes(mail)
    return path


def suppressed(house: Installation) -> list[str]:
    with closing(sqlite3.connect(house.folder / "newsletter.db")) as connection:
        rows = connection.execute("SELECT reason FROM suppressions ORDER BY reason")
        return [reason for (reason,) in rows]


def test_a_maildir_is_read_acted_on_and_marked(open_house: Installation) -> None:
    path = maildir(open_house, *reports_on(send(open_house, *PEOPLE)))
    url = f"maildir://{path}"
    assert open_house.ok("feedback", "read", url) == SAID
    assert suppressed(open_house) == ["complaint", *["hard_bounce"] * 3]
    assert list((path / "new").iterdir()) == []
    assert len(list((path / "cur").glob("*:2,S"))) == 12
    assert open_house.ok("feedback", "read", url) == "read 0"


def test_the_counts_are_printed_for_machines(open_house: Installation) -> None:
    path = maildir(open_house, *reports_on(send(open_house, *PEOPLE)))
    found = json.loads(open_house.ok("feedback", "read", "--json", f"maildir:{path}"))
    assert {name: count for name, count in found.items() if count} == {
        "read": 12,
        "hard_bounce": 3,
        "complaint": 1,
        "soft_bounce": 2,
        "ignored": 5,
        "unmatched": 1,
    }
    assert {"delivered", "unsubscribed", "unknown", "known"} < set(found)


def test_what_was_read_before_a_crash_counts_once(open_house: Installation) -> None:
    path = maildir(open_house, *reports_on(send(open_house, *PEOPLE)))
    open_house.ok("feedback", "read", f"maildir:{path}")
    for file in list((path / "cur").iterdir()):
        file.rename(path / "new" / file.name.partition(":")[0])
    assert open_house.ok("feedback", "read", f"maildir:{path}") == f"{SAID} (6 known already)"
    assert suppressed(open_house) == ["complaint", *["hard_bounce"] * 3]


def test_a_mailbox_on_a_server_is_read_acted_on_and_marked(
    open_house: Installation, imap: Dovecot
) -> None:
    user = next(imap.users)
    imap.deliver(user, *reports_on(send(open_house, *PEOPLE)))
    assert open_house.ok("feedback", "read", imap.url(user)) == SAID
    assert suppressed(open_house) == ["complaint", *["hard_bounce"] * 3]
    assert imap.seen(user) == [True] * 12
    assert open_house.ok("feedback", "read", imap.url(user)) == "read 0"


def test_a_mailbox_of_more_than_one_batch_is_read_to_its_end(open_house: Installation) -> None:
    [mail] = send(open_house, "ann@example.org")
    told = [out_of_office().replace(b"<ooo", b"<%d" % n) for n in range(249)]
    path = maildir(open_house, *told, postfix(to=mail.sender))
    said = open_house.ok("feedback", "read", f"maildir:{path}")
    assert said == "read 250: 1 hard bounce, 249 ignored"
    assert len(list((path / "cur").iterdir())) == 250


def test_the_url_can_come_from_standard_input(
    open_house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = maildir(open_house, out_of_office())
    given = open_house.folder / "url"
    given.write_text(f"maildir://{path}\n")
    with given.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert open_house.ok("feedback", "read", "-") == "read 1: 1 ignored"


def test_a_process_that_dies_leaves_mail_unread_or_marked_and_counted_once(
    open_house: Installation,
) -> None:
    mails = send(open_house, *[f"reader{number}@example.org" for number in range(300)])
    told = [postfix(to=mail.sender, number=number) for number, mail in enumerate(mails)]
    path = maildir(open_house, *told)
    process = open_house.start("feedback", "read", f"maildir:{path}")
    wait_until(lambda: suppressed(open_house))
    process.send_signal(signal.SIGKILL)
    process.wait()
    open_house.ok("feedback", "read", f"maildir:{path}")
    assert suppressed(open_house) == ["hard_bounce"] * 300
    assert len(list((path / "cur").iterdir())) == 300
    with closing(sqlite3.connect(open_house.folder / "newsletter.db")) as connection:
        assert connection.execute("SELECT count(*) FROM feedback_events").fetchone() == (300,)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "must begin with"),
        ("", "must begin with"),
        ("maildir:none", "no Maildir"),
        (f"imaps://me:{PASSWORD}@mail.example.org:port", "port"),
        ("imaps://mail.example.org", "password"),
        (f"imap://me:{PASSWORD}@127.0.0.1:1", "cannot be reached"),
    ],
)
def test_a_mailbox_that_cannot_be_read_is_told_in_one_line(
    open_house: Installation, url: str, said: str
) -> None:
    line = refusal(open_house.run("feedback", "read", url))
    assert said in line
    assert PASSWORD not in line


def test_a_login_that_is_refused_is_told_in_one_line(
    open_house: Installation, imap: Dovecot
) -> None:
    url = f"imap://{next(imap.users)}:{PASSWORD}@127.0.0.1:{imap.port}"
    line = refusal(open_house.run("feedback", "read", url))
    assert "refuses the user name and password" in line
    assert PASSWORD not in line


def test_without_the_keys_of_the_installation_nothing_is_read(open_house: Installation) -> None:
    path = maildir(open_house, out_of_office())
    del open_house.environment["NEWSLETTER_SECRET_KEYS"]
    line = refusal(open_house.run("feedback", "read", f"maildir:{path}"))
    assert "NEWSLETTER_SECRET_KEYS is missing" in line
    assert len(list((path / "new").iterdir())) == 1


def test_a_database_that_is_away_leaves_all_unread(open_house: Installation) -> None:
    path = maildir(open_house, out_of_office())
    open_house.environment["NEWSLETTER_DATABASE_URL"] = (
        f"postgresql://me@127.0.0.1:{free_port()}/newsletter"
    )
    assert "database is away" in refusal(open_house.run("feedback", "read", f"maildir:{path}"))
    assert len(list((path / "new").iterdir())) == 1


def test_the_command_without_a_word_shows_its_help(open_house: Installation) -> None:
    assert "read" in open_house.run("feedback").out
    assert "URL" in refusal(open_house.run("feedback", "read"))
