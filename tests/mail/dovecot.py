"""A real IMAP server for tests: Debian's dovecot, started with a configuration of its own."""

import getpass
import grp
import imaplib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.mail.servers import free_port

PASSWORD = "s3cret/ü@{plain} %41"  # noqa: S105 - of no installation
USERS = [f"reports{number}" for number in range(50)]

_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
mail_location = maildir:{folder}/mail/%u
disable_plaintext_auth = no
auth_failure_delay = 0
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = scheme=plain username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={owner} gid={owner_group} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
{tls}
"""


@dataclass
class Dovecot:
    """A running server; every user has a mailbox and the same password."""

    folder: Path
    port: int
    tls_port: int
    users: Iterator[str]

    def url(self, user: str, mailbox: str = "") -> str:
        """Return the URL of a mailbox, in clear because it is on loopback."""
        return f"imap://{user}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{mailbox}"

    def tls_url(self, user: str) -> str:
        return f"imaps://{user}:{quote(PASSWORD, safe='')}@localhost:{self.tls_port}"

    @contextmanager
    def _client(self, user: str) -> Iterator[imaplib.IMAP4]:
        client = imaplib.IMAP4("127.0.0.1", self.port)
        client.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())
        yield client
        client.logout()

    def deliver(self, user: str, *mails: bytes, mailbox: str = "INBOX") -> None:
        with self._client(user) as client:
            client.create(mailbox)
            for mail in mails:
                assert client.append(mailbox, "", "", mail)[0] == "OK"

    def seen(self, user: str, mailbox: str = "INBOX") -> list[bool]:
        """Return for every mail whether it is flagged as seen."""
        with self._client(user) as client:
            client.select(mailbox, readonly=True)
            _, found = client.fetch("1:*", "(FLAGS)")
            return [b"\\Seen" in line for line in found if isinstance(line, bytes)]


@contextmanager
def dovecot(certificate: tuple[Path, Path] | None = None) -> Iterator[Dovecot]:
    """Have a server while inside; `certificate` is a file and its key, if it shall speak TLS."""
    found = shutil.which("dovecot", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        missing = "there is no dovecot"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    # Not in pytest's folder: others may not look into it, and names of sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="dovecot-") as name:
        server = Dovecot(Path(name), free_port(), free_port(), iter(USERS))
        _furnish(server, certificate)
        command = [str(found), "-F", "-c", str(server.folder / "dovecot.conf")]
        process = subprocess.Popen(command)  # noqa: S603
        try:
            _await(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(30)


def _furnish(server: Dovecot, certificate: tuple[Path, Path] | None) -> None:
    folder = server.folder
    folder.chmod(0o755)
    for name in ("run", "mail"):
        (folder / name).mkdir()
    (folder / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in USERS))
    tls = "ssl = no"
    if certificate is not None:
        for source, name in zip(certificate, ("cert.pem", "key.pem"), strict=True):
            shutil.copy(source, folder / name)
        tls = f"ssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem"
    values = {"folder": folder, "port": server.port, "tls_port": server.tls_port, "tls": tls}
    (folder / "dovecot.conf").write_text(_CONFIGURATION.format(**values, **_names()))
    if os.getuid() == 0:
        shutil.chown(folder / "mail", "nobody", "nogroup")


def _names() -> dict[str, str]:
    """Return who runs what: dovecot serves no mail as root, and everything as anybody else."""
    if os.getuid() == 0:
        internal = {"internal": "dovecot", "group": "dovecot", "login": "dovenull"}
        return {**internal, "owner": "nobody", "owner_group": "nogroup"}
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    internal = {"internal": user, "group": group, "login": user}
    return {**internal, "owner": user, "owner_group": group}


def _await(server: Dovecot, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with (
            suppress(OSError),
            closing(socket.create_connection(("127.0.0.1", server.port), 5)) as s,
        ):
            if s.recv(4) == b"* OK":
                return
        time.sleep(0.05)
    pytest.fail(f"dovecot does not run: {(server.folder / 'log').read_text()}")
