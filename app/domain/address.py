"""E-mail addresses: as typed for sending, as a key for uniqueness, folded against abuse."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from app.domain.text import clean

EMAIL_LENGTH = 254
"""RFC 5321 4.5.3.1.3: a path of 256 octets less its angle brackets."""

LOCAL_LENGTH = 64
"""RFC 5321 4.5.3.1.1, in octets; email-validator leaves it to us."""

_DOTLESS = {"gmail.com", "googlemail.com"}


@dataclass(frozen=True, slots=True)
class Address:
    """One address: `email` as typed (NFC), `key` equal for all spellings of one mailbox."""

    email: str
    key: str


def parse(value: str) -> Address:
    """Check an address without any look-up.

    The key has the domain as a lower-case A-label (RFC 5890) and only the ASCII letters of the
    local part in lower case, because other case foldings differ from language to language.
    Raises ValueError with a sentence that does not repeat the address.
    """
    text = clean(value, EMAIL_LENGTH, header=True)
    try:
        valid = validate_email(text, check_deliverability=False, allow_display_name=False)
    except EmailNotValidError as error:
        raise ValueError("Enter a valid e-mail address, such as name@example.org.") from error
    typed = text.rpartition("@")[0]  # the validator writes info@ and the like in lower case
    local = "".join(c.lower() if c.isascii() else c for c in typed)
    key = f"{local}@{valid.ascii_domain.lower()}"
    if len(local.encode()) > LOCAL_LENGTH:
        raise ValueError(f"Use at most {LOCAL_LENGTH} characters before the @.")
    if len(key.encode()) > EMAIL_LENGTH:
        raise ValueError(f"Use at most {EMAIL_LENGTH} characters.")
    return Address(f"{typed}@{valid.domain}", key)


def abuse_key(key: str) -> str:
    """Fold what one person can vary at will: plus-tags, and dots at Gmail."""
    local, _, domain = key.rpartition("@")
    local = local.partition("+")[0] or local
    if domain in _DOTLESS:
        local, domain = local.replace(".", "") or local, "gmail.com"
    return f"{local}@{domain}"


def masked(email: str) -> str:
    """Return the address as somebody knows it who owns it, and as nobody learns it who does not."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}\u2026@{domain}"


def envelope(email: str) -> str:
    """Return the address for the SMTP envelope: the local part as typed, the domain as A-label."""
    local = email.rpartition("@")[0]
    return f"{local}@{parse(email).key.rpartition('@')[2]}"
