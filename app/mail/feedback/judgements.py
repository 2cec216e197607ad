"""What a refusal that a provider passes on says of the mailbox: its codes are judged, not its text.

Nobody is suppressed for what is held against us: a policy, a blocklist, the content.
"""

import re
from dataclasses import dataclass

from app.domain.feedback import Happened
from app.domain.retry import Outcome
from app.mail.replies import Phase, classify

_CODE = re.compile(r"(?<![\w.@+-])([45]\d\d)(?![\w.@])[ -]*\(?#?(?:([45]\.\d{1,3}\.\d{1,3})\b)?")
_ENHANCED = re.compile(r"\s*#?([45]\.\d{1,3}\.\d{1,3})\b")
_HELD_AGAINST_US = (".6.", ".7.")
"""RFC 3463: content or conversion, security or policy."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The code of a server's reply and the enhanced code; either may be missing."""

    code: int | None = None
    enhanced: str = ""

    def __str__(self) -> str:
        """Return the codes alone, as a detail to keep."""
        return f"{self.code or ''} {self.enhanced}".strip()


def reply(text: str, enhanced: str = "") -> Reply:
    """Find the codes in a server's words; an enhanced code that was told apart comes first."""
    found = _CODE.search(text)
    told = _ENHANCED.fullmatch(enhanced) or _ENHANCED.match(text)
    if found is None:
        return Reply(None, told[1] if told else "")
    return Reply(int(found[1]), told[1] if told else found[2] or "")


def permanent(said: Reply, *, no_mailbox: bool = False) -> Happened:
    """Judge what was refused for good; `no_mailbox`: the provider itself says there is none.

    A refusal that names no reason may be about the mailbox or about us: one proves nothing, and
    so it counts as soft.
    """
    if not str(said):
        return Happened.HARD_BOUNCE if no_mailbox else Happened.FAILED
    if is_held_against_us(said):
        return Happened.FAILED
    code = said.code or int(said.enhanced[0]) * 100 + 50
    if classify(Phase.DOT, code, said.enhanced).outcome is Outcome.REFUSED:
        return Happened.HARD_BOUNCE
    match classify(Phase.RCPT, code, said.enhanced).outcome:
        case Outcome.REFUSED:
            return Happened.HARD_BOUNCE if no_mailbox else Happened.SOFT_BOUNCE
        case Outcome.RETRY_RECIPIENT:
            return Happened.SOFT_BOUNCE
        case _:
            return Happened.FAILED


def given_up(said: Reply) -> Happened:
    """Judge what was refused for the time being, until the provider gave up."""
    return Happened.FAILED if is_held_against_us(said) else Happened.SOFT_BOUNCE


def is_held_against_us(said: Reply) -> bool:
    """Tell whether the refusal is about the sender or the text, and not about the mailbox."""
    return said.enhanced[1:4] in _HELD_AGAINST_US
