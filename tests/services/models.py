"""What the contract says about a list of commands, retold without any of the code under test."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
COOLDOWN, CONFIRM_TTL, RETENTION, WINDOW = 15 * MINUTE, 7 * DAY, 30 * DAY, 30 * DAY


@dataclass(eq=False)
class Joined:
    """One subscription; an episode begins each time somebody asks who is not subscribed."""

    email: str
    slug: str
    status: str
    episode: int
    requested_at: datetime
    confirmed_at: datetime | None = None
    left_at: datetime | None = None
    id: UUID | None = None


@dataclass(eq=False)
class Letter:
    """One mail that became necessary."""

    kind: str
    joined: Joined
    episode: int
    at: datetime
    is_settled: bool = False


@dataclass
class Model:
    """Everybody, and every mail there ever was."""

    now: datetime
    joined: dict[tuple[str, str], Joined] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)

    def sign_up(self, email: str, slug: str) -> None:
        known = self.joined.get((email, slug))
        kind = "already_subscribed" if known and known.status == "confirmed" else "confirm"
        if email in self.blocked or not self._may_be_mailed(email, slug, kind):
            return
        if known is None:
            known = self.joined[email, slug] = Joined(email, slug, "none", 0, self.now)
        if known.status in {"none", "unsubscribed"}:
            known.status, known.episode = "pending", known.episode + 1
        if known.status == "pending":
            known.requested_at = self.now
        self._mail(kind, known)

    def _may_be_mailed(self, email: str, slug: str, kind: str) -> bool:
        """Fifteen minutes apart, three unanswered, ten in all, one reminder a day."""
        every = [m for m in self.letters if m.joined.email == email and m.kind != "welcome"]
        own = [m for m in every if m.joined.slug == slug]
        known = self.joined.get((email, slug))
        answered = known.confirmed_at if known else None
        unanswered = [m for m in self._window(own) if answered is None or m.at > answered]
        reminders = [m.at for m in own if m.kind == "already_subscribed"]
        return (
            not (own and self.now - own[-1].at < COOLDOWN)
            and not (kind == "already_subscribed" and reminders and self.now - reminders[-1] < DAY)
            and len(unanswered) < 3
            and len(self._window(every)) < 10
        )

    def _window(self, letters: list[Letter]) -> list[Letter]:
        """Return the mails of the running thirty days, which begin with a mail."""
        window: list[Letter] = []
        for letter in letters:
            over = window and letter.at - window[0].at >= WINDOW
            window = [letter] if over or not window else [*window, letter]
        return window if window and self.now - window[0].at < WINDOW else []

    def confirm(self, link: Letter) -> str:
        known = link.joined
        if self.joined.get((known.email, known.slug)) is not known:
            return "link_expired"
        if known.episode != link.episode or known.status == "unsubscribed":
            return "left_since"
        if known.status == "confirmed":
            return "already_confirmed"
        if self.now - link.at >= CONFIRM_TTL:
            return "link_expired"
        known.status, known.confirmed_at = "confirmed", self.now
        self.erased.discard(known.email)
        if known.slug == "insights":
            self._mail("welcome", known)
        return "confirmed"

    def leave(self, known: Joined, *, why: str) -> None:
        if self.joined.get((known.email, known.slug)) is not known:
            return
        if why in {"unsubscribe", "complaint"} and known.status != "unsubscribed":
            known.left_at = self.now if known.status == "confirmed" else None
            known.status = "unsubscribed"
        if why in {"complaint", "hard_bounce"}:
            self.blocked.add(known.email)

    def undo(self, known: Joined) -> str:
        if self.joined.get((known.email, known.slug)) is not known:
            return "too_late"
        if known.status == "confirmed":
            return "already_confirmed"
        is_fresh = known.left_at is not None and self.now - known.left_at < 15 * MINUTE
        if known.status != "unsubscribed" or not is_fresh or known.email in self.blocked:
            return "too_late"
        known.status = "confirmed"
        return "confirmed"

    def add(self, email: str, slug: str) -> str:
        known = self.joined.get((email, slug))
        settled = known is not None and known.status != "pending"
        if settled or email in self.blocked | self.erased:
            return "unchanged"
        if known is None:
            known = self.joined[email, slug] = Joined(email, slug, "none", 0, self.now)
        known.status, known.confirmed_at = "confirmed", self.now
        return "done"

    def expire(self, known: Joined) -> str:
        is_there = self.joined.get((known.email, known.slug)) is known
        too_old = known.requested_at < self.now - RETENTION
        if not (is_there and known.status == "pending" and too_old):
            return "unchanged"
        if known.confirmed_at is None:
            del self.joined[known.email, known.slug]
        else:
            known.status = "unsubscribed"
        return "done"

    def _mail(self, kind: str, known: Joined) -> None:
        self.letters.append(Letter(kind, known, known.episode, self.now))

    def may_leave(self, letter: Letter) -> bool:
        """Tell whether a worker may send it now: nobody who did not confirm, or has left."""
        known = letter.joined
        if self.joined.get((known.email, known.slug)) is not known or known.email in self.blocked:
            return False
        if letter.kind == "confirm":
            fresh = self.now - letter.at < CONFIRM_TTL
            return known.status == "pending" and known.episode == letter.episode and fresh
        same = known.episode == letter.episode or letter.kind == "already_subscribed"
        return known.status == "confirmed" and same
