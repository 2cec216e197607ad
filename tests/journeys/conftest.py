from collections.abc import Iterator

import pytest

from tests.journeys.processes import PostOffice, post_office


@pytest.fixture
def office() -> Iterator[PostOffice]:
    with post_office() as opened:
        yield opened
