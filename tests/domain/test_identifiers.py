import uuid
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.identifiers import uuid7

TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ENTROPY = st.binary(min_size=10, max_size=10)


@settings(deadline=None)
@given(TIMES, ENTROPY)
def test_it_is_a_uuid_of_version_7_and_the_variant_of_the_rfc(at: datetime, chance: bytes) -> None:
    made = uuid7(at, chance)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_the_example_of_the_rfc_comes_out() -> None:
    at = datetime(2022, 2, 22, 14, 22, 22, tzinfo=timezone(timedelta(hours=-5)))
    chance = (0xCC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert str(uuid7(at, chance)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@settings(deadline=None)
@given(TIMES, ENTROPY, ENTROPY)
def test_identifiers_sort_by_the_time_they_were_made(
    at: datetime, one: bytes, other: bytes
) -> None:
    later = at + timedelta(milliseconds=2)
    assert uuid7(at, one) < uuid7(later, other)
    assert str(uuid7(at, one)) < str(uuid7(later, other))


@settings(deadline=None)
@given(TIMES, st.sets(ENTROPY, min_size=2, max_size=20))
def test_chance_tells_apart_what_is_made_in_one_millisecond(
    at: datetime, chances: set[bytes]
) -> None:
    # Six of the 80 bits are taken for version and variant.
    kept = {int.from_bytes(c, "big") & ~(0xF << 76) & ~(0x3 << 62) for c in chances}
    assert len({uuid7(at, chance) for chance in chances}) == len(kept)
