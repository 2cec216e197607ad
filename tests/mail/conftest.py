import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mail.dovecot import Dovecot, dovecot

OPENSSL = shutil.which("openssl") or "openssl"


@dataclass(frozen=True)
class Certificate:
    server: ssl.SSLContext
    client: ssl.SSLContext
    files: tuple[Path, Path]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost only, and a client that trusts it."""
    return issue(tmp_path_factory.mktemp("certificate"))


def issue(folder: Path) -> Certificate:
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key)]
    command += ["-out", str(cert), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return Certificate(server, ssl.create_default_context(cafile=str(cert)), (cert, key))


@pytest.fixture(scope="session")
def imap(certificate: Certificate) -> Iterator[Dovecot]:
    """A real IMAP server that knows some users and has a certificate."""
    with dovecot(certificate.files) as server:
        yield server
