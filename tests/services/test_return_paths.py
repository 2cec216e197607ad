import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import return_paths
from app.services.house import House
from app.tokens import Purpose, TokenInvalid, Tokens
from tests.conftest import BASE_URL, SECRET

HOUSE = House(
    base_url=BASE_URL,
    tokens=Tokens((SECRET,)),
    hash_key=b"",
    bounce_address="bounces@example.org",
)
MOST = 2**63 - 1
numbers = st.integers(1, MOST)


def path(outbox_id: int, house: House = HOUSE) -> str:
    made = return_paths.make(house, outbox_id)
    assert made is not None
    return made


@given(numbers)
def test_a_return_path_says_which_mail_it_was(outbox_id: int) -> None:
    made = path(outbox_id)
    local, _, domain = made.rpartition("@")
    assert domain == "example.org"
    assert local.startswith(f"bounces+{outbox_id}.")
    assert local == local.lower()
    assert local.isascii()
    assert len(local) <= 64
    assert return_paths.read(HOUSE, made) == outbox_id
    assert path(outbox_id) == made, "every attempt has the same envelope"


@given(numbers, st.randoms())
def test_the_case_of_its_letters_may_get_lost(outbox_id: int, chance: random.Random) -> None:
    changed = "".join(chance.choice((c.lower(), c.upper())) for c in path(outbox_id))
    assert return_paths.read(HOUSE, changed) == outbox_id


@given(numbers, st.integers(0, 35), st.sampled_from("0123456789abcdefghijklmnopqrstuvwxyz.-"))
def test_a_mark_that_was_changed_is_not_believed(number: int, place: int, letter: str) -> None:
    mark = HOUSE.tokens.mark(Purpose.BOUNCE, number)
    changed = mark[:place] + letter + mark[place + 1 :]
    if changed != mark:
        with pytest.raises(TokenInvalid):
            HOUSE.tokens.read_mark(Purpose.BOUNCE, changed)
        assert return_paths.read(HOUSE, f"bounces+{changed}@example.org") is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bounces@example.org",
        "bounces+42@example.org",
        "bounces+42.aaaaaaaaaaaaaaaa@example.org",
        "bounces+0042.aaaaaaaaaaaaaaaa@example.org",
        f"bounces+{'9' * 19}.aaaaaaaaaaaaaaaa@example.org",
        "bounces+42.@example.org",
        pytest.param("+" * 100_000, id="plusses"),
    ],
)
def test_an_address_without_a_mark_of_ours_says_nothing(value: str) -> None:
    assert return_paths.read(HOUSE, value) is None


def test_a_mark_is_found_among_other_addresses() -> None:
    own = path(42)
    theirs = "Ann <x+42.aaaaaaaaaaaaaaaa@example.net>"
    assert return_paths.read(HOUSE, f"{theirs}, Bounces <{own}>") == 42


def test_a_mark_of_one_purpose_means_nothing_for_another() -> None:
    mark = HOUSE.tokens.mark(Purpose.UNSUBSCRIBE, 42)
    with pytest.raises(TokenInvalid):
        HOUSE.tokens.read_mark(Purpose.BOUNCE, mark)


def test_the_newest_key_signs_and_all_verify() -> None:
    new = "another-secret-that-only-the-tests-know-012345"
    both = replace(HOUSE, tokens=Tokens((new, SECRET)))
    only_new = replace(HOUSE, tokens=Tokens((new,)))
    assert path(7, both) == path(7, only_new) != path(7)
    assert return_paths.read(both, path(7)) == 7
    assert return_paths.read(only_new, path(7)) is None


def test_without_a_bounce_address_there_is_no_return_path() -> None:
    assert return_paths.make(replace(HOUSE, bounce_address=None), 42) is None


def test_the_longest_bounce_address_leaves_room_for_the_longest_mark() -> None:
    fitting = return_paths.fit("b" * return_paths.LOCAL_ROOM + "@Bücher.Example")
    longest = path(MOST, replace(HOUSE, bounce_address=fitting))
    assert len(longest.rpartition("@")[0]) == 64
    assert longest.endswith("@xn--bcher-kva.example")


@pytest.mark.parametrize(
    "value",
    ["b" * 28 + "@example.org", "bücher@example.org", "b@" + "a." * 110 + "example.org"],
)
def test_a_bounce_address_without_room_for_a_mark_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="mark") as refused:
        return_paths.fit(value)
    assert value not in str(refused.value)
