"""What `vigil login` and `vigil logout` do."""

import sys

import typer

from cli.api_client import Reach, reached, session_of
from cli.connection import configured, run
from cli.output import print_json


def run_login(reach: Reach, *, email: str | None, as_json: bool) -> None:
    """Log in and keep the session. Raises `Refused`."""
    url, address = run(_login(reach, email))
    print_json({"url": url, "email": address}) if as_json else typer.echo(f"logged in at {url} as {address}")


def run_logout(reach: Reach, *, as_json: bool) -> None:
    """End the session and forget it. Raises `Refused` when the API cannot be asked; it is forgotten all the same."""
    url, was = run(_logout(reach))
    if as_json:
        print_json({"url": url, "was_logged_in": was})
    else:
        typer.echo(f"logged out at {url}" if was else f"nobody was logged in at {url}")


async def _login(reach: Reach, email: str | None) -> tuple[str, str]:
    async with reached(configured(), reach) as (api, kept):
        address = email or _asked("E-mail", hidden=False)
        tokens = await api.call("POST", "/auth/login", {"email": address, "password": _asked("Password", hidden=True)})
        with kept.alone():
            kept.keep(api.url, session_of(tokens))
        return api.url, address


async def _logout(reach: Reach) -> tuple[str, bool]:
    async with reached(configured(), reach) as (api, kept):
        with kept.alone():
            session = kept.of(api.url)
            kept.forget(api.url)
        if session is not None:
            await api.call("POST", "/auth/logout", {"refresh_token": session.refresh_token})
        return api.url, session is not None


def _asked(what: str, *, hidden: bool) -> str:
    """Asked for on the terminal, else the next line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, hide_input=hidden, err=True))
    return sys.stdin.readline().rstrip("\r\n")
