"""What the doctor finds, and that every trouble comes with a way to mend it."""

import json
import socket
from pathlib import Path

import pytest

from agentos import doctor
from agentos.doctor import Finding, Health
from agentos.settings import Settings
from db.migrations import runner
from tests.agentos.commands import environment, run


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def test_what_is_well_needs_no_mending_and_what_is_not_says_how(tmp_path: Path, database_url: str) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, redis_url="redis://127.0.0.1:1", port=0, ws_port=0
    )

    findings = by_check(await doctor.examine(settings))

    assert Health.FAIL is findings["Redis"].health
    assert {Health.OK} == {findings[name].health for name in ("PostgreSQL", "migrations", "Python", "codecs")}
    assert all((finding.health is Health.OK) is (finding.mend == "") for finding in findings.values())


async def test_a_database_at_another_revision_fails(tmp_path: Path, database_url: str, redis_url: str) -> None:
    await runner.downgrade(database_url, "0001")
    settings = Settings(data_dir=tmp_path, database_url=database_url, redis_url=redis_url, port=0, ws_port=0)

    findings = by_check(await doctor.examine(settings))

    assert Health.OK is findings["Redis"].health
    assert Health.FAIL is findings["migrations"].health
    assert "0001" in findings["migrations"].found
    assert "migrate" in findings["migrations"].mend


async def test_stores_that_nobody_runs_are_not_started(tmp_path: Path) -> None:
    findings = by_check(await doctor.examine(Settings(data_dir=tmp_path / "new", port=0, ws_port=0)))

    assert "not running" in findings["PostgreSQL"].found
    assert not (tmp_path / "new").exists()


def test_an_old_python_fails() -> None:
    assert Health.FAIL is doctor.python((3, 10, 14)).health
    assert Health.OK is doctor.python((3, 11, 0)).health


def test_missing_packages_are_named() -> None:
    assert Health.FAIL is doctor.wheels(["no_such_wheel"]).health
    assert "no_such_wheel" in doctor.wheels(["no_such_wheel"]).found
    assert Health.WARN is doctor.media_wheels(["no_such_codec"]).health


def test_what_is_optional_is_named_and_fails_nothing(tmp_path: Path) -> None:
    assert Health.NONE is doctor.voice_engine(["no-such-voice"]).health
    assert Health.NONE is doctor.speech_model(None).health
    assert "AGENTOS_SPEECH_MODEL" in doctor.speech_model(None).mend
    assert Health.WARN is doctor.speech_model(tmp_path / "nowhere").health


def test_a_taken_port_is_named_with_the_setting_that_changes_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        api, legacy = doctor.ports(Settings(data_dir=tmp_path, port=port, ws_port=0))

    assert (Health.FAIL, Health.OK) == (api.health, legacy.health)
    assert str(port) in api.found
    assert "AGENTOS_PORT" in api.mend


def test_a_folder_that_others_may_write_in_is_noticed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert Health.WARN is doctor.data_dir(tmp_path).health

    tmp_path.chmod(0o700)
    assert Health.OK is doctor.data_dir(tmp_path).health


def test_a_long_data_directory_moves_the_sockets(tmp_path: Path) -> None:
    assert Health.WARN is doctor.socket_path(tmp_path / ("long" * 25)).health


@pytest.mark.parametrize(("uid", "health"), [(0, Health.WARN), (1000, Health.OK)])
def test_root_is_worth_a_word(uid: int, health: Health) -> None:
    assert health is doctor.root_user(uid).health


async def test_json_is_for_machines_and_the_exit_code_says_whether_it_runs(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    well = environment(tmp_path, database_url=database_url, redis_url=redis_url, port="0", ws_port="0")
    ill = {**well, "AGENTOS_REDIS_URL": "redis://127.0.0.1:1"}

    good, bad = await run("doctor", "--json", env=well), await run("doctor", "--json", env=ill)

    assert (0, 1) == (good.code, bad.code)
    assert json.loads(good.out)["healthy"] is True
    failed = [check for check in json.loads(bad.out)["checks"] if check["health"] == "fail"]
    assert ["Redis"] == [check["check"] for check in failed]
