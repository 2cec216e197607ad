import errno
from pathlib import Path
from typing import IO, cast

import pytest

from app.mail.mailboxes.maildir import MaildirMailbox
from app.mail.mailboxes.unread import OCTETS, Mailbox, MailboxUnusable
from app.mail.mailboxes.urls import open_mailbox
from tests.mail.dovecot import PASSWORD

SECRET = "s3cret"  # noqa: S105
MAILS = [f"Subject: {number}\r\n\r\nbody {number}\r\n".encode() for number in range(3)]


def contents(mailbox: Mailbox) -> list[bytes]:
    return [mail.content for mail in mailbox.unread()]


def keys(mailbox: Mailbox) -> list[str]:
    return [mail.key for mail in mailbox.unread()]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tmp", "new", "cur"):
        (tmp_path / name).mkdir()
    for number, mail in enumerate(MAILS):
        (tmp_path / "new" / f"{number}.host").write_bytes(mail)
    return tmp_path


def test_what_is_new_in_a_maildir_is_read_and_stays_new(folder: Path) -> None:
    (folder / "cur" / "9.host:2,S").write_bytes(b"read already")
    (folder / "new" / ".hidden").write_bytes(b"not a mail")
    (folder / "new" / "folder").mkdir()
    with open_mailbox(f"maildir://{folder}") as mailbox:
        assert sorted(contents(mailbox)) == MAILS
        assert sorted(contents(mailbox)) == MAILS


def test_a_mail_that_was_marked_moves_to_cur_as_seen(folder: Path) -> None:
    mailbox = MaildirMailbox(folder)
    (folder / "new" / "3.host:2,").write_bytes(b"flags")
    mailbox.mark(["0.host", "3.host:2,", "taken-by-somebody-else"])
    assert sorted(keys(mailbox)) == ["1.host", "2.host"]
    assert names(folder / "cur") == ["0.host:2,S", "3.host:2,S"]
    assert (folder / "cur" / "0.host:2,S").read_bytes() == MAILS[0]


def test_no_mail_that_is_marked_takes_the_place_of_another(folder: Path) -> None:
    mailbox, alike = MaildirMailbox(folder), ["0.host:2,", "0.host:2,T", "0.host"]
    for key in alike:
        (folder / "new" / key).write_bytes(key.encode())
    mailbox.mark(alike)
    assert sorted(file.read_bytes() for file in (folder / "cur").iterdir()) == sorted(
        key.encode() for key in alike
    )


def test_a_mail_whose_name_leaves_no_room_for_a_flag_gets_another(folder: Path) -> None:
    mailbox = MaildirMailbox(folder)
    (folder / "new" / ("n" * 255)).write_bytes(b"long")
    mailbox.mark(["n" * 255])
    [file] = (folder / "cur").iterdir()
    assert (file.read_bytes(), file.name[-4:]) == (b"long", ":2,S")


def test_a_mail_that_cannot_be_read_stops_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Path.open

    def refuse(path: Path, mode: str) -> IO[bytes]:
        # Not by its permissions: whoever is root may read everything.
        if path.name == "1.host":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return cast("IO[bytes]", opened(path, mode))

    monkeypatch.setattr(Path, "open", refuse)
    assert sorted(contents(MaildirMailbox(folder))) == [MAILS[0], MAILS[2]]
    told = capsys.readouterr().out
    assert "mail_unreadable" in told
    assert "1.host" not in told


def test_a_maildir_that_nobody_has_opened_yet_gets_its_cur(folder: Path) -> None:
    (folder / "cur").rmdir()
    MaildirMailbox(folder).mark(["0.host"])
    assert names(folder / "cur") == ["0.host:2,S"]


def test_marking_while_reading_leaves_out_nothing(folder: Path) -> None:
    mailbox, read = MaildirMailbox(folder), []
    for number in range(500):
        (folder / "new" / f"more{number}").write_bytes(b"x")
    for mail in mailbox.unread():
        read.append(mail.key)
        mailbox.mark([mail.key])
    assert len(read) == len(set(read)) == 503
    assert keys(mailbox) == []


def test_only_the_beginning_of_a_huge_mail_is_read(folder: Path) -> None:
    (folder / "new" / "0.host").write_bytes(b"x" * 20_000_000)
    assert {len(content) for content in contents(MaildirMailbox(folder))} == {OCTETS, 22}


def test_what_is_no_maildir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(MailboxUnusable, match="no Maildir"):
            contents(MaildirMailbox(path))


def refused(url: str) -> str:
    """Return the sentence that refuses a URL: without its password, and in one line."""
    with pytest.raises(ValueError, match=r"\A[A-Z].*\.\Z") as error, open_mailbox(url):
        pass
    said = str(error.value)
    assert SECRET not in said
    assert PASSWORD not in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "must begin with"),
        (f"pop3://me:{SECRET}@mail.example.org", "must begin with"),
        (f"smtp://me:{SECRET}@mail.example.org", "must begin with"),
        ("maildir:", "no path"),
        ("maildir:///", "no path"),
        ("maildir:///a%00b", "no path"),
        ("maildir://host/path", "Write maildir:///"),
        ("maildir:///path?a=b", "no parameters"),
        (f"imaps://me:{SECRET}@", "host name"),
        (f"imaps://me:{SECRET}@mail example.org", "host name"),
        (f"imaps://me:{SECRET}@mail.example.org:0", "port"),
        (f"imaps://me:{SECRET}@mail.example.org:port", "port"),
        (f"imaps://me:pw/{SECRET}@mail.example.org", "port"),
        (f"imaps://me:{SECRET}@mail.example.org/INBOX?tls=no", "no parameters"),
        (f"imaps://me:{SECRET}@mail.example.org/INBOX#new", "no parameters"),
        (f"imaps://me:{SECRET}@mail.example.org/Entw%C3%BCrfe", "modified UTF-7"),
        (f"imaps://me:{SECRET}@mail.example.org/a%0D%0Ab", "modified UTF-7"),
        ("imaps://mail.example.org", "user name and a password"),
        ("imaps://me@mail.example.org", "user name and a password"),
        (f"imaps://:{SECRET}@mail.example.org", "user name and a password"),
        (f"imaps://me:{SECRET}%0D%0A@mail.example.org", "user name and a password"),
        (f"imaps://me:{SECRET}%00@mail.example.org", "user name and a password"),
    ],
)
def test_a_url_that_names_no_mailbox_is_refused(url: str, said: str) -> None:
    assert said in refused(url)
