"""What commands say: words and tables to people, JSON to programs, and one sentence when they fail."""

# ruff: noqa: PLC0415  only what fails, or speaks JSON, pays for these imports

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

FAILED, WRONG_USE = 1, 2


def print_json(value: Any) -> None:  # noqa: ANN401  anything msgspec can encode
    """One JSON document on a line of its own, in UTF-8 whatever the terminal speaks (RFC 8259, 8.1)."""
    import msgspec

    typer.echo(msgspec.json.encode(value))


def warn(message: str) -> None:
    """Something that does not keep the command from going on."""
    typer.secho(f"warning: {message}", fg=typer.colors.YELLOW, err=True)


def fail(message: str, *, code: int = FAILED) -> NoReturn:
    """End the command with a sentence on standard error."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


@contextmanager
def failing_in_one_sentence() -> Iterator[None]:
    """What can be expected to go wrong ends the command with a sentence; everything else shows where it came from."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        told = _sentence(error)
        if told is None:
            raise
        from domain.errors import InvalidInput

        fail(told, code=WRONG_USE if isinstance(error, InvalidInput) else FAILED)


def _sentence(error: Exception) -> str | None:
    """What happened and what to do, None for what nobody expects."""
    import psycopg
    import psycopg_pool
    from yoyo.exceptions import LockTimeout

    from adapters.data_dir import DataDirInUse
    from adapters.embedded_process import EmbeddedServerFailed
    from adapters.log_archive import ArchiveUnreadable
    from adapters.log_chain import LogBroken
    from adapters.personal_data import PersonKeyMissing
    from adapters.postgres_rebuild import RebuildRefused
    from adapters.postgres_repair import StoreInUse
    from adapters.postgres_replay import LogIncomplete
    from adapters.secret_key import SecretKeyRefused
    from adapters.wrapping_keys import WrappedKeyBroken, WrappingKeyMissing
    from bootstrap.roles import RoleEnded
    from bootstrap.settings import EndpointsUnknown, SettingsInvalid
    from domain.errors import RuleViolation

    match error:
        case BrokenPipeError():
            return None
        case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
            return f"the database lacks Vigil's tables ({_first_line(error)}); run `vigil migrate up`"
        case psycopg.errors.LockNotAvailable():
            return "somebody else works on these tables; stop everything of Vigil, and see `vigil doctor`"
        case psycopg.errors.InsufficientPrivilege():
            return f"{_first_line(error)}; this needs the owner of the tables: set VIGIL_DATABASE_OWNER_URL"
        case psycopg.OperationalError() | psycopg_pool.PoolTimeout():
            return f"the database does not answer: {_first_line(error)}; is VIGIL_DATABASE_URL right?"
        case LockTimeout():
            return "another migration runs, or one was killed: wait for it, or see `vigil migrate status`"
        case RuleViolation():
            return error.message
        case OSError():
            return _first_line(error)
        case (
            ArchiveUnreadable()
            | DataDirInUse()
            | EmbeddedServerFailed()
            | SecretKeyRefused()
            | WrappedKeyBroken()
            | WrappingKeyMissing()
            | RoleEnded()
            | EndpointsUnknown()
            | LogBroken()
            | LogIncomplete()
            | PersonKeyMissing()
            | RebuildRefused()
            | StoreInUse()
            | SettingsInvalid()
        ):
            return str(error)
        case _:
            return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
