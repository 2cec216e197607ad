import pytest

from app.domain.feedback import Happened
from app.mail.feedback import judgements
from app.mail.feedback.judgements import Reply

HARD, SOFT, FAILED = Happened.HARD_BOUNCE, Happened.SOFT_BOUNCE, Happened.FAILED


@pytest.mark.parametrize(
    ("text", "enhanced", "found"),
    [
        ("smtp; 550 5.1.1 <x@y>... User unknown", "", Reply(550, "5.1.1")),
        ("smtp; 550-5.1.1 The email account", "5.1.1", Reply(550, "5.1.1")),
        ("smtp;550 5.7.1 blocked, see 5.1.1.1", "", Reply(550, "5.7.1")),
        ("550 No such user", "", Reply(550)),
        ("bob450@example.org: mailbox unknown 550 5.1.1", "", Reply(550, "5.1.1")),
        ("<x550@a.example>: 554 5.7.1 blocked by mx.550.example", "", Reply(554, "5.7.1")),
        ("550 No such user", "5.1.1", Reply(550, "5.1.1")),
        ("550 (#5.1.0 Address rejected)", "", Reply(550, "5.1.0")),
        ("554 delivery error: dd Sorry [500]", "", Reply(554)),
        ("5.1.1 no such user", "", Reply(None, "5.1.1")),
        ("host 10.550.1.1 said nothing", "", Reply()),
        ("mailbox 5501 is 1550 kB too large", "", Reply()),
        ("", "5.1.1", Reply(None, "5.1.1")),
        ("", "not a code", Reply()),
        ("", "", Reply()),
    ],
)
def test_codes_are_found_in_a_servers_words(text: str, enhanced: str, found: Reply) -> None:
    assert judgements.reply(text, enhanced) == found


@pytest.mark.parametrize(
    ("said", "plainly", "by_the_provider"),
    [
        (Reply(550, "5.1.1"), HARD, HARD),
        (Reply(None, "5.1.1"), HARD, HARD),
        (Reply(550, "5.1.10"), HARD, HARD),
        (Reply(550, "5.2.1"), HARD, HARD),
        (Reply(550), SOFT, HARD),
        (Reply(550, "5.0.0"), SOFT, HARD),
        (Reply(550, "4.1.1"), SOFT, HARD),  # of another class than the code: not believed
        (Reply(552), SOFT, SOFT),
        (Reply(552, "5.2.2"), SOFT, SOFT),
        (Reply(452, "4.2.2"), SOFT, SOFT),
        (Reply(550, "5.7.1"), FAILED, FAILED),
        (Reply(None, "5.7.26"), FAILED, FAILED),
        (Reply(450, "4.7.1"), FAILED, FAILED),
        (Reply(550, "5.6.0"), FAILED, FAILED),
        (Reply(552, "5.3.4"), FAILED, FAILED),
        (Reply(554), FAILED, FAILED),
        (Reply(421), FAILED, FAILED),
        (Reply(535), FAILED, FAILED),
        (Reply(), FAILED, HARD),
    ],
)
def test_only_a_code_for_a_missing_mailbox_is_a_hard_bounce(
    said: Reply, plainly: Happened, by_the_provider: Happened
) -> None:
    assert judgements.permanent(said) is plainly
    assert judgements.permanent(said, no_mailbox=True) is by_the_provider


@pytest.mark.parametrize(
    ("said", "happened"),
    [
        (Reply(), SOFT),
        (Reply(452, "4.2.2"), SOFT),
        (Reply(None, "4.4.7"), SOFT),
        (Reply(450, "4.7.1"), FAILED),
        (Reply(554, "5.7.1"), FAILED),
    ],
)
def test_giving_up_is_soft_unless_it_is_held_against_us(said: Reply, happened: Happened) -> None:
    assert judgements.given_up(said) is happened


def test_the_detail_holds_codes_only() -> None:
    said = [Reply(550, "5.1.1"), Reply(550), Reply(None, "5.1.1"), Reply()]
    assert list(map(str, said)) == ["550 5.1.1", "550", "5.1.1", ""]
