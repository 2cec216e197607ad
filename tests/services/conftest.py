import pytest

from app.db.engine import Engine
from app.services.house import House
from tests.services.people import Door


@pytest.fixture
def door(engine: Engine, house: House) -> Door:
    return Door(engine, house)
