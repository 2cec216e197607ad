"""Reports as mail servers write them, by the grammar of RFC 3464 and RFC 5965."""

from email.message import EmailMessage

TO = "bounces@news.example.org"
ORIGINAL = (
    b"Return-Path: <insights@example.org>\r\n"
    b"From: Insights <insights@example.org>\r\nTo: ann@example.net\r\n"
    b"Subject: Welcome\r\nMessage-ID: <7.20261122213005123456@news.example.org>\r\n"
    b"List-Unsubscribe: <https://news.example.org/unsubscribe/token>\r\n"
    b"\r\nHello Ann\r\n"
)


def head_of(original: bytes) -> bytes:
    return original.partition(b"\r\n\r\n")[0] + b"\r\n"


def _report(kind: str, head: str, parts: list[tuple[str, bytes]]) -> bytes:
    boundary = "=_7.A/report?1"
    lines = [f"{head}MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type={kind};\r\n"]
    lines[0] += f'\tboundary="{boundary}"\r\n\r\nThis is a MIME-encapsulated message.\r\n'
    blocks = [f"\r\n--{boundary}\r\n{head}\r\n\r\n".encode() + body for head, body in parts]
    return lines[0].encode() + b"".join(blocks) + f"\r\n--{boundary}--\r\n".encode()


def postfix(
    status: str = "5.1.1",
    diagnostic: str = "smtp; 550 5.1.1 <ann@example.net>: Recipient address rejected",
    action: str = "failed",
    to: str = TO,
    original: bytes = ORIGINAL,
    number: int = 1,
) -> bytes:
    head = (
        f"Return-Path: <>\r\nX-Original-To: {to}\r\nDelivered-To: {to}\r\n"
        f"Received: by mail.example.org (Postfix)\r\n\tid 4ABC; Tue, 24 Nov 2026 10:00:00 +0100\r\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0100 (CET)\r\n"
        "From: MAILER-DAEMON@mail.example.org (Mail Delivery System)\r\n"
        f"Subject: Undelivered Mail Returned to Sender\r\nTo: {to}\r\n"
        "Auto-Submitted: auto-replied\r\n"
        f"Message-Id: <{number}.4ABC@mail.example.org>\r\n"
    )
    status_part = (
        "Reporting-MTA: dns; mail.example.org\r\nX-Postfix-Queue-ID: 4ABC\r\n"
        "Arrival-Date: Tue, 24 Nov 2026 09:59:58 +0100 (CET)\r\n\r\n"
        "Final-Recipient: rfc822; ann@example.net\r\n"
        f"Original-Recipient: rfc822;ann@example.net\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Remote-MTA: dns; mx.example.net\r\nDiagnostic-Code: {diagnostic}\r\n"
    )
    text = b"I'm sorry to have to inform you that your message could not be delivered.\r\n"
    return _report(
        "delivery-status",
        head,
        [
            ("Content-Description: Notification\r\nContent-Type: text/plain", text),
            (
                "Content-Description: Delivery report\r\nContent-Type: message/delivery-status",
                status_part.encode(),
            ),
            ("Content-Type: message/rfc822", original),
        ],
    )


def exim(
    diagnostic: str = "smtp; 550 5.1.1 No such user here", to: str = TO, original: bytes = ORIGINAL
) -> bytes:
    head = (
        f"Envelope-to: {to}\r\nAuto-Submitted: auto-replied\r\n"
        f"From: Mail Delivery System <Mailer-Daemon@mx.example.net>\r\nTo: {to}\r\n"
        "Subject: Mail delivery failed: returning message to sender\r\n"
        "Message-Id: <E1abcD-0000aB-00@mx.example.net>\r\nDate: Tue, 24 Nov 2026 09:00:01 +0000\r\n"
    )
    status_part = (
        "Reporting-MTA: dns; mx.example.net\n\n"
        f"Action: failed\nFinal-Recipient: rfc822;ann@example.net\nStatus: 5.0.0\n"
        f"Remote-MTA: dns; mail.example.net\nDiagnostic-Code: {diagnostic}\n"
    )
    parts = [
        ("Content-type: text/plain; charset=us-ascii", b"A message could not be delivered.\r\n"),
        ("Content-type: message/delivery-status", status_part.encode()),
        ("Content-type: text/rfc822-headers", head_of(original)),
    ]
    return _report("delivery-status", head, parts)


def exchange(status: str = "5.1.10", to: str = TO, original: bytes = ORIGINAL) -> bytes:
    head = (
        f"From: <postmaster@example.net>\r\nTo: <{to.upper()}>\r\n"
        "Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nSubject: Undeliverable: Welcome\r\n"
        "Message-ID: <f00d@mail.example.net>\r\nX-MS-Exchange-Message-Is-Ndr:\r\n"
    )
    status_part = (
        "Reporting-MTA: dns;mail.example.net\r\nReceived-From-MTA: dns;mx.example.net\r\n"
        "Arrival-Date: Tue, 24 Nov 2026 08:59:59 +0000\r\n\r\n"
        "Final-Recipient: rfc822;ann@example.net\r\nAction: failed\r\n"
        f"Status: {status}\r\nDiagnostic-Code: smtp;550 {status} RESOLVER.ADR.RecipNotFound;\r\n"
        " Recipient not found by SMTP address lookup\r\nX-Display-Name: Ann\r\n"
    )
    parts = [
        ("Content-Type: text/html; charset=utf-8", "<p>Zustellung nicht möglich</p>".encode()),
        ("Content-Type: message/delivery-status", status_part.encode()),
        ("Content-Type: message/rfc822", original),
    ]
    return _report("delivery-status", head, parts)


def complaint(
    kind: str = "abuse", to: str = "fbl@example.org", original: bytes = ORIGINAL, extra: str = ""
) -> bytes:
    """Return a complaint in the manner of Yahoo: the original is whole."""
    head = (
        f"From: feedback@arf.example.net\r\nTo: {to}\r\n"
        "Subject: FW: Welcome\r\nDate: Tue, 24 Nov 2026 11:00:00 +0000\r\n"
        "Message-ID: <arf-1@arf.example.net>\r\n"
    )
    feedback = (
        f"Feedback-Type: {kind}\r\nUser-Agent: Example!-Mail-Feedback/2.0\r\nVersion: 0.1\r\n"
        f"Original-Rcpt-To: ann@example.net\r\nSource-IP: 192.0.2.1\r\n{extra}"
    )
    parts = [
        ("Content-Type: text/plain; charset=US-ASCII", b"This is an email abuse report.\r\n"),
        ("Content-Type: message/feedback-report", feedback.encode()),
        ("Content-Type: message/rfc822\r\nContent-Disposition: inline", original),
    ]
    return _report("feedback-report", head, parts)


def outlook_complaint(original: bytes = ORIGINAL) -> bytes:
    """Return a complaint in the manner of Outlook: folded fields, only the head of the original."""
    sent = complaint(extra="Original-Mail-From:\r\n <insights@example.org>\r\n", original=b"")
    return sent.replace(
        b"message/rfc822\r\nContent-Disposition: inline\r\n\r\n",
        b"text/rfc822-headers\r\n\r\n" + head_of(original),
    )


def out_of_office(to: str = TO) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@example.net", to, "Out of office"
    mail["Auto-Submitted"] = "auto-replied"
    mail["Message-ID"] = "<ooo@example.net>"
    mail.set_content("550 5.1.1 user unknown, says the joker. Back on Monday.")
    return mail.as_bytes()
