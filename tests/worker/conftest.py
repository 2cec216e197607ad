import pytest

from app.db.engine import Engine
from app.services.house import House
from tests.worker.stage import Scripted, Stage


@pytest.fixture
async def stage(engine: Engine, house: House, database: str, open_house: None) -> Stage:  # noqa: ARG001
    return Stage(engine, house, database)


@pytest.fixture
async def transport(anyio_backend: str) -> Scripted:  # noqa: ARG001
    return Scripted()
