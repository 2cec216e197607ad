"""The finished bytes are read back: what was meant must be what a reader finds.

Our own code is not trusted here. Whatever text managed to add a header, to break a line or to
leave its body is caught here, before the first recipient (CVE-2024-6923 was of this kind).
"""

import html
from collections.abc import Sequence
from email.message import EmailMessage

from app.mail.guards import ComposeError
from app.mail.message import LINE_LENGTH, parse


def prove(content: bytes, names: Sequence[str], links: Sequence[str]) -> None:
    """Raise ComposeError unless the message has exactly these headers, and its two bodies.

    `links` are URLs of which each body has to show one or more, unharmed.
    """
    message = parse(content)
    if sorted(message.keys()) != sorted(names):
        raise ComposeError("A text of this newsletter changes the headers of its mails.")
    if message.defects or _has_broken_line(content):
        raise ComposeError("A text of this newsletter breaks the form of its mails.")
    bodies = [_body(part) for part in message.iter_parts()]
    if [kind for kind, _ in bodies] != ["text/plain", "text/html"]:
        raise ComposeError("A text of this newsletter breaks the bodies of its mails.")
    if not all(any(link in html.unescape(text) for link in links) for _, text in bodies):
        raise ComposeError("A link did not survive in the bodies of this newsletter's mails.")


def _has_broken_line(content: bytes) -> bool:
    lines = content.split(b"\r\n")
    return any(len(line) > LINE_LENGTH or b"\r" in line or b"\n" in line for line in lines)


def _body(part: object) -> tuple[str, str]:
    if not isinstance(part, EmailMessage) or part.defects or part.is_multipart():
        return "", ""
    return part.get_content_type(), str(part.get_content())
