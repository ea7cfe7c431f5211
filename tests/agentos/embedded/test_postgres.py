import os
import stat
from pathlib import Path

import asyncpg
import pytest

from agentos.embedded import NotStarted, Stores, places
from tests.agentos.embedded.conftest import answer, used


@pytest.fixture
def postgres(data_dir: Path) -> Stores:
    return Stores(data_dir, valkey=False, fast_unsafe=True)


@used
async def test_the_owner_finds_its_database_and_these_settings(data_dir: Path) -> None:
    postgres = Stores(data_dir, valkey=False)
    url = (await postgres.start()).database_url
    names = ("fsync", "synchronous_commit", "jit", "timezone", "max_connections", "listen_addresses")

    settings = [await answer(url, f"SELECT current_setting('{name}')") for name in names]
    owner = await answer(url, "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()")
    await postgres.stop()

    assert ["on", "on", "off", "UTC", "100", ""] == settings
    assert "agentos" == owner


@used
async def test_without_the_password_nobody_gets_in(postgres: Stores, data_dir: Path) -> None:
    await postgres.start()
    try:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=str(data_dir / "postgres"), port=5432, user="agentos", database="agentos", password="guessed"
            )

        assert 0o700 == stat.S_IMODE((data_dir / "postgres").stat().st_mode)
    finally:
        await postgres.stop()


@used
async def test_a_lost_password_is_made_anew(postgres: Stores, data_dir: Path) -> None:
    before = (await postgres.start()).database_url
    await postgres.stop()
    (data_dir / "postgres.password").unlink()

    after = (await postgres.start()).database_url

    try:
        assert before != after
        assert 1 == await answer(after, "SELECT 1")
    finally:
        await postgres.stop()


async def test_a_set_up_that_was_interrupted_is_begun_anew(postgres: Stores, data_dir: Path) -> None:
    half = data_dir / "postgres" / "draft-0000"
    half.mkdir(parents=True, mode=0o700)
    (half / "PG_VERSION").write_text("18")

    url = (await postgres.start()).database_url

    try:
        assert 1 == await answer(url, "SELECT 1")
        assert not half.exists()
    finally:
        await postgres.stop()


async def test_data_of_another_major_version_is_left_alone_and_explained(postgres: Stores, data_dir: Path) -> None:
    await postgres.start()
    await postgres.stop()
    (data_dir / "postgres/data/PG_VERSION").write_text("14\n")

    with pytest.raises(NotStarted, match=r"another major version; restore a backup(.|\n)*initialized by PostgreSQL"):
        await postgres.start()


async def test_paths_too_long_for_a_socket_work_as_well(data_dir: Path) -> None:
    deep = data_dir / ("deep" * 20) / "with space, and comma"
    deep.mkdir(parents=True)
    postgres = Stores(deep, valkey=False, fast_unsafe=True)
    url = (await postgres.start()).database_url
    try:
        assert "agentos" == await answer(url, "SELECT current_user")
    finally:
        await postgres.stop()
    Path(url.partition("host=")[2].partition("&")[0]).rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")
async def test_it_runs_below_a_home_that_is_closed_to_its_account(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "OPEN_TO_ALL", data_dir / "open")
    (data_dir / "home").mkdir(mode=0o700)
    postgres = Stores(data_dir / "home" / "agentos", valkey=False, fast_unsafe=True)

    url = (await postgres.start()).database_url

    try:
        assert 1 == await answer(url, "SELECT 1")
        assert 0o700 == stat.S_IMODE((data_dir / "home").stat().st_mode)
        assert (data_dir / "home/agentos/postgres/data/PG_VERSION").exists()
    finally:
        await postgres.stop()
