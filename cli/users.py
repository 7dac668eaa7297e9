"""`vigil users`: accounts and roles, given by whoever operates the installation."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated

import typer

from cli.arguments import Json, Yes
from cli.output import failing_in_one_sentence

users = typer.Typer(no_args_is_help=True, help="Make accounts, give roles, erase people.")


@users.command("create", epilog="Example: vigil users create ada@example.org --name 'Ada Lovelace'")
def users_create(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")],
    name: Annotated[str, typer.Option(metavar="TEXT", help="The person's name.")],
    password: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Better left out: other users of this machine may see it here."),
    ] = None,
    timezone: Annotated[str, typer.Option(metavar="IANA", help="The person's time zone.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Create an account with a verified address.

    It works also where registration is closed. Without --password it is asked for, or read from the first line of
    standard input.
    """
    with failing_in_one_sentence():
        from cli.accounts import run_create

        run_create(email=email, name=name, password=password, timezone=timezone, as_json=as_json)


@users.command("grant", epilog="Example: vigil users grant ada@example.org operator")
def users_grant(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address of the account.")],
    role: Annotated[str, typer.Argument(metavar="ROLE", help="member, operator, auditor or admin.")],
    as_json: Json = False,
) -> None:
    """Give a person a role, from their next login on."""
    with failing_in_one_sentence():
        from cli.accounts import run_grant

        run_grant(email=email, role=role, as_json=as_json)


@users.command("erase", epilog="Example: vigil users erase ada@example.org --yes")
def users_erase(
    person: Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The address or id of the account.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Erase a person for ever.

    Their key is destroyed: nobody can read again what they said, in no event, mail or backup that lacks the key. Their
    monitors are evaluated no more. It is recorded who did it.
    """
    with failing_in_one_sentence():
        from cli.accounts import run_erase

        run_erase(person=person, yes=yes, as_json=as_json)
