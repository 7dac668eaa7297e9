"""The embedded PostgreSQL and Redis: started, killed in every way, found again, and ended without a trace."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from adapters import embedded_redis
from adapters.data_dir import DataDirLock
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.embedded_process import EmbeddedServerFailed, bundled_program, end, is_gone, processes_in
from adapters.embedded_redis import EmbeddedRedis


def make_folder() -> Path:
    """A folder with a closed parent, as a home directory has it. (Not pytest's: it is closed again by other runs.)"""
    folder = Path(tempfile.mkdtemp(prefix="vigil test %")) / "data"
    folder.mkdir(mode=0o700)
    return folder


def remove_folder(folder: Path) -> None:
    EmbeddedPostgres(folder).stop()
    EmbeddedRedis(folder).stop()
    shutil.rmtree(folder.parent)


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One directory for the module, so that its cluster is made once."""
    folder = make_folder()
    yield folder
    remove_folder(folder)


@pytest.fixture
def fresh_dir() -> Iterator[Path]:
    folder = make_folder()
    yield folder
    remove_folder(folder)


@pytest.fixture
def postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir, fsync=False)
    yield server
    server.stop()
    assert processes_in(data_dir / "postgres", "postgres") == []


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def test_postgres_starts_with_the_database_and_leaves_no_process(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    url = postgres.start()
    assert ask(url, "select current_database(), current_setting('listen_addresses')") == [("vigil", "")]
    assert ask(url, "select current_setting('max_connections'), current_setting('shared_buffers')") == [
        ("200", "128MB")
    ]
    processes = family(postmaster(data_dir))
    assert len(processes) > 3
    postgres.stop()
    postgres.stop()
    assert all(map(is_gone, processes))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_the_disk_is_waited_for_unless_a_test_asks_otherwise(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    settings = "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes')"
    unsafe = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on"}
    assert sorted(ask(postgres.start(), settings)) == sorted(unsafe.items())
    postgres.stop()
    safe = EmbeddedPostgres(data_dir)
    assert {value for _, value in ask(safe.start(), settings)} == {"on"}
    safe.stop()


def test_a_second_start_keeps_the_data_and_ignores_the_environment(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(postgres.start(), "create table kept as select 1 as n")
    postgres.stop()
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    assert ask(postgres.start(), "select n from kept") == [(1,)]


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    postgres.start()
    cache = EmbeddedRedis(data_dir)
    cache.start()
    own = os.getsid(0)
    assert os.getsid(postmaster(data_dir).pid) != own
    assert [os.getsid(p.pid) != own for p in processes_in(data_dir / "redis", "redis-server")] == [True]
    cache.stop()


def test_after_kill_9_of_postgres_committed_data_is_there_again(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    url = postgres.start()
    ask(url, "create table survivor as select generate_series(1, 1000) as n")
    busy = psycopg.connect(url)
    busy.execute("insert into survivor values (0)")  # never committed
    killed = postmaster(data_dir)
    killed.kill()
    again = postgres.start()
    busy.close()
    assert postmaster(data_dir).pid != killed.pid
    assert ask(again, "select count(*), min(n) from survivor") == [(1000, 1)]


def test_a_lock_file_naming_an_unrelated_living_process_does_not_hinder_the_start(
    postgres: EmbeddedPostgres, data_dir: Path
) -> None:
    postgres.start()
    lock = data_dir / "postgres" / "postmaster.pid"
    content, owner = lock.read_text(), lock.stat()
    postmaster(data_dir).kill()
    as_root = os.geteuid() == 0
    # The same user as the server's: PostgreSQL itself forgives a number that passed to another user's process.
    with subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, user=owner.st_uid if as_root else None, cwd=data_dir
    ) as other:
        lock.write_text(f"{other.pid}\n{content.split(chr(10), 1)[1]}")
        (data_dir / "postgres" / ".s.PGSQL.5432.lock").write_text(lock.read_text())
        assert ask(postgres.start(), "select 1") == [(1,)]
        assert other.poll() is None


OWNER = """
import sys, pathlib
from adapters.data_dir import DataDirLock
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.embedded_redis import EmbeddedRedis
folder = pathlib.Path(sys.argv[1])
lock = DataDirLock(folder)
lock.acquire()
EmbeddedPostgres(folder, fsync=False).start()
EmbeddedRedis(folder).start()
print("started", flush=True)
sys.stdin.read()
"""


def test_after_kill_9_of_the_owner_both_servers_are_taken_over_and_can_be_ended(
    postgres: EmbeddedPostgres, data_dir: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", OWNER, data_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"started\n"
        owner.kill()
    first = postmaster(data_dir)
    (first_cache,) = processes_in(data_dir / "redis", "redis-server")
    with DataDirLock(data_dir):
        assert ask(postgres.start(), "select 1") == [(1,)]
        cache = EmbeddedRedis(data_dir)
        with redis.Redis.from_url(cache.start()) as client:
            assert client.ping()
        assert postmaster(data_dir) == first
        assert processes_in(data_dir / "redis", "redis-server") == [first_cache]
        processes = family(first)
        cache.stop()
        postgres.stop()
    assert all(map(is_gone, [*processes, first_cache]))


def test_a_start_meeting_a_server_that_is_shutting_down_starts_it_again(
    postgres: EmbeddedPostgres, data_dir: Path
) -> None:
    postgres.start()
    leaving = postmaster(data_dir)
    leaving.send_signal(signal.SIGINT)
    assert ask(postgres.start(), "select 1") == [(1,)]
    assert postmaster(data_dir) != leaving


def test_a_long_path_with_spaces_and_the_rest_of_a_killed_first_start_are_no_hindrance(fresh_dir: Path) -> None:
    long = fresh_dir / ("a long name " * 8) / ("and 'another' \"one\" " * 3)
    (long / "postgres.new-killed").mkdir(parents=True)
    (long / "postgres.new-killed" / "PG_VERSION").write_text("18\n")
    server, cache = EmbeddedPostgres(long, fsync=False), EmbeddedRedis(long)
    assert len(str(long)) > 107
    url = server.start()
    assert ask(url, "select current_database()") == [("vigil",)]
    sockets = Path(str(ask(url, "select current_setting('unix_socket_directories')")[0][0]).strip('"'))
    assert sockets.stat().st_mode & 0o077 == 0
    with redis.Redis.from_url(cache.start()) as client:
        assert client.ping()
    assert ask(server.start(), "select 1") == [(1,)]
    cache.stop()
    server.stop()
    assert not (long / "postgres.new-killed").exists()
    for socket_folder in (sockets, Path(client.connection_pool.connection_kwargs["path"]).parent):
        assert socket_folder.parent == Path(tempfile.gettempdir())
        shutil.rmtree(socket_folder)


def test_a_short_socket_folder_made_by_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    long = tmp_path / ("x" * 120)
    cache = EmbeddedRedis(long)
    cache.start()
    cache.stop()
    (short,) = tmp_path.glob("vigil-*")
    shutil.rmtree(short)
    short.symlink_to(long)
    with pytest.raises(EmbeddedServerFailed, match="belongs to somebody else"):
        cache.start()


def test_a_folder_that_is_no_cluster_or_of_another_version_is_left_alone(fresh_dir: Path) -> None:
    cluster = fresh_dir / "postgres"
    cluster.mkdir()
    (cluster / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedServerFailed, match="it is no PostgreSQL cluster"):
        EmbeddedPostgres(fresh_dir, fsync=False).start()
    assert [p.name for p in fresh_dir.iterdir()] == ["postgres"]
    (cluster / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerFailed, match="is of PostgreSQL 12, the embedded server is 18"):
        EmbeddedPostgres(fresh_dir).start()
    assert (cluster / "letter.txt").read_text() == "mine"


def test_a_server_that_cannot_start_says_what_its_log_says(fresh_dir: Path) -> None:
    cluster = fresh_dir / "postgres"
    cluster.mkdir(mode=0o700)
    (cluster / "PG_VERSION").write_text("18\n")
    with pytest.raises(EmbeddedServerFailed, match=r"PostgreSQL did not start: .*postgresql\.conf"):
        EmbeddedPostgres(fresh_dir).start()


def test_a_start_that_takes_too_long_is_given_up_with_the_place_of_the_log(data_dir: Path) -> None:
    with pytest.raises(EmbeddedServerFailed, match=r"not ready in 0 s and still works on it; see .*postgres\.log"):
        EmbeddedPostgres(data_dir, start_timeout_seconds=0).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_lets_another_user_run_postgres_and_opens_folders_to_their_group_only(
    postgres: EmbeddedPostgres, data_dir: Path
) -> None:
    postgres.start()
    process = postmaster(data_dir)
    assert process.uids().effective != 0
    assert process.gids().effective != 0
    for folder in (data_dir, data_dir.parent):
        assert folder.stat().st_mode & 0o777 == 0o710


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_start_and_stop_both_and_is_told_of_data_of_another(fresh_dir: Path) -> None:
    nobody = 65534
    for folder in (fresh_dir, fresh_dir.parent):
        os.chown(folder, nobody, nobody)
    (fresh_dir / "roots" / "postgres").mkdir(mode=0o700, parents=True)
    child = os.fork()
    if child == 0:  # never returns into pytest
        try:
            os.setgroups([])
            os.setgid(nobody)
            os.setuid(nobody)
            os.chdir("/")
            server, cache = EmbeddedPostgres(fresh_dir, fsync=False), EmbeddedRedis(fresh_dir)
            assert ask(server.start(), "select current_database()") == [("vigil",)]
            assert cache.start().startswith("unix://")
            assert postmaster(fresh_dir).uids().effective == nobody
            cache.stop()
            server.stop()
            with pytest.raises(EmbeddedServerFailed, match="belongs to another user"):
                EmbeddedPostgres(fresh_dir / "roots").start()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent must see a failure
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # Root takes the data over as its owner, so that it stays usable for the ordinary user.
    server = EmbeddedPostgres(fresh_dir, fsync=False)
    server.start()
    assert postmaster(fresh_dir).uids().effective == nobody
    server.stop()


def test_redis_keeps_nothing_listens_on_no_port_and_leaves_no_process(data_dir: Path) -> None:
    cache = EmbeddedRedis(data_dir)
    url = cache.start()
    with redis.Redis.from_url(url, decode_responses=True) as client:
        client.set("key", "value")
        kept = {name: client.config_get(name)[name] for name in ("port", "save", "appendonly")}
        assert kept == {"port": "0", "save": "", "appendonly": "no"}
        (process,) = processes_in(data_dir / "redis", "redis-server")
        cache.stop()
        cache.stop()
        assert is_gone(process)
        assert cache.start() == url
        assert client.get("key") is None
    cache.stop()
    assert sorted(p.name for p in (data_dir / "redis").iterdir()) == ["redis.log"]


def test_a_redis_that_answers_no_more_is_ended_and_replaced(data_dir: Path) -> None:
    cache = EmbeddedRedis(data_dir)
    cache.start()
    (silent,) = processes_in(data_dir / "redis", "redis-server")
    (data_dir / "redis" / "redis.sock").unlink()
    with redis.Redis.from_url(cache.start()) as client:
        assert client.ping()
    assert is_gone(silent)
    assert len(processes_in(data_dir / "redis", "redis-server")) == 1
    cache.stop()


def test_a_redis_that_cannot_start_says_what_its_log_says(fresh_dir: Path) -> None:
    (fresh_dir / "redis" / "redis.sock").mkdir(parents=True)
    with pytest.raises(EmbeddedServerFailed, match="Redis did not start: "):
        EmbeddedRedis(fresh_dir).start()


def test_a_redis_that_takes_too_long_is_given_up_and_ended(fresh_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never_ready = fresh_dir / "redis-server"
    never_ready.write_text("#!/bin/sh\nwhile :; do sleep 1; done\n")
    never_ready.chmod(0o700)
    monkeypatch.setattr(embedded_redis, "bundled_program", lambda _package, _path: never_ready)
    with pytest.raises(EmbeddedServerFailed, match=r"did not answer in 0\.05 s"):
        EmbeddedRedis(fresh_dir, start_timeout_seconds=0.05).start()
    assert processes_in(fresh_dir / "redis", "redis-server") == []
    assert processes_in(fresh_dir / "redis", "sleep") == []


def test_a_child_that_lost_its_lock_file_is_still_ended(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    postgres.start()
    server = postmaster(data_dir)
    (data_dir / "postgres" / "postmaster.pid").unlink()
    postgres.stop()
    assert is_gone(server)


def test_a_process_that_does_not_end_is_said() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as stubborn:
        with pytest.raises(EmbeddedServerFailed, match=str(stubborn.pid)):
            end(psutil.Process(stubborn.pid), [(signal.SIGCONT, 0.0)])
        end(psutil.Process(stubborn.pid), [(signal.SIGCONT, 0.0), (signal.SIGTERM, 5.0)])
        assert stubborn.wait() == -signal.SIGTERM


def test_a_missing_package_is_named() -> None:
    with pytest.raises(EmbeddedServerFailed, match="no_such_package"):
        bundled_program("no_such_package", "bin/x")
