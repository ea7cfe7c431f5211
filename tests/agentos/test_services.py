"""Services: what they need, and that processes with the same keys understand each other."""

import pytest
from pydantic import SecretStr
from redis.asyncio.connection import AbstractConnection as Connection

from agentos.keys import key_ring, link_secret
from agentos.services import NoStores, about, opened
from agentos.settings import Settings
from db.files import MB
from resolvers.uploads import LARGEST_FILE


async def test_without_addresses_of_stores_nothing_is_opened(settings: Settings) -> None:
    for missing in ("database_url", "redis_url"):
        with pytest.raises(NoStores, match="AGENTOS_DATABASE_URL"):
            async with opened(settings.model_copy(update={missing: None})):
                pass


async def test_who_is_slow_to_hang_up_keeps_nothing_else_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py waits for a connection to be closed as long as for one to be made, and then raises."""

    async def late(_: Connection, nowait: bool = False) -> None:
        raise TimeoutError

    async with opened(settings) as services:
        async with services.database.system():
            assert await services.redis.ping()
        lent = services.database.engine.pool
        monkeypatch.setattr(Connection, "disconnect", late)
    monkeypatch.undo()
    await services.redis.aclose()

    assert services.database.engine.pool is not lent


def test_keys_are_made_once_and_then_kept(settings: Settings) -> None:
    first, second = key_ring(settings), key_ring(settings)
    brought = key_ring(settings.model_copy(update={"jwt_keys": SecretStr(first.stored())}))

    assert first.jwks == second.jwks == brought.jwks
    assert link_secret(first) == link_secret(brought)
    assert 0o600 == settings.keys_file.stat().st_mode & 0o777


def test_the_snapshot_is_told_what_one_file_may_have_and_not_what_one_user_may_hold(settings: Settings) -> None:
    told = about(settings.model_copy(update={"upload_quota_mb": 7}))

    assert LARGEST_FILE // MB == told.largest_file_mb


def test_the_snapshot_is_told_where_the_legacy_websocket_listens(settings: Settings) -> None:
    assert 8799 == about(settings.model_copy(update={"ws_port": 8799})).ws_port
