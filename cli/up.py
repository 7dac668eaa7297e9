"""`vigil up`: everything on this machine, told step by step, until it is asked to stop."""

import errno
import time
from contextlib import closing, suppress
from socket import AF_INET, AF_INET6, create_server

import typer
from rich.console import Console
from rich.text import Text

from adapters.data_dir import DataDirLock
from bootstrap.collector import spare_what_stays
from bootstrap.running import Running, StoppedEarly, everything_up
from bootstrap.settings import PREFIX, Settings, read_settings
from bootstrap.signals import asked_by_signals, wait_until_asked
from cli.connection import configured, run
from cli.demo import Demo, demo_settings
from cli.output import fail, warn
from workers.lifecycle import Stop

OTHER_PORTS_TRIED = 20


def run_up(*, demo: bool) -> None:
    """Run until asked to stop. Raises what `everything_up` raises."""
    settings = configured(**demo_settings(read_settings())) if demo else configured()
    with DataDirLock(settings.data_dir):
        pass  # before another port is chosen because this data folder's own Vigil has the usual one
    run(_up(with_free_ports(settings, "http_port", "inbox_port"), demo=demo))


def with_free_ports(settings: Settings, *names: str) -> Settings:
    """The settings with another port for each of `names` that is taken, unless somebody chose it: then the command
    fails. A newcomer's machine often has something on the usual ports."""
    chosen: dict[str, int] = {}
    for name in names:
        host = settings.http_host if name == "http_port" else "127.0.0.1"
        port: int = getattr(settings, name)
        if _is_free(host, port):
            continue
        variable = f"{PREFIX}{name.upper()}"
        if name in settings.model_fields_set:
            fail(f"port {port} is taken: stop what listens there, or set {variable} to another (0: any that is free)")
        others = range(port + 1, port + 1 + OTHER_PORTS_TRIED)
        chosen[name] = next((other for other in others if _is_free(host, other)), 0)
        warn(f"port {port} is taken, so another is used; {variable} chooses one")
    return settings.model_copy(update=chosen)


def _is_free(host: str, port: int) -> bool:
    """Whether one could listen there. Raises `OSError` when the reason is not that somebody does."""
    try:
        with closing(create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)):
            return True
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise


async def _up(settings: Settings, *, demo: bool) -> None:
    console, stop = Console(highlight=False), Stop()
    console.print(f"Starting Vigil; its data are in {settings.data_dir}", markup=False)
    with asked_by_signals(stop):
        try:
            async with everything_up(settings, stop=stop, told=Steps(console).done) as running:
                spare_what_stays()
                show_ready(console, running)
                if demo:
                    await Demo(running, settings.data_dir, console).run()
                else:
                    console.print(
                        "`vigil events tail` in another terminal tells what happens. Ctrl-C stops it.", style="dim"
                    )
                    await wait_until_asked(stop)
                say_stopping(console)
        except StoppedEarly:
            pass
    with suppress(OSError):  # a closed terminal
        console.print("Vigil has stopped.")


class Steps:
    """Prints each step of a start with the seconds it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._since = time.monotonic()

    def done(self, name: str) -> None:
        """The step `name` is done."""
        now = time.monotonic()
        self._console.print(Text.assemble(("  ✓ ", "green"), f"{name:<12}", (f"{now - self._since:6.2f} s", "dim")))
        self._since = now


def show_ready(console: Console, running: Running) -> None:
    """The line that scripts wait for, and where to go from here."""
    typer.echo(f"ready {running.api_url}")
    links = {"API docs": f"{running.api_url}/api/v1/docs", "health": f"{running.api_url}/health/ready"}
    if running.inbox_url is not None:
        links["inbox"] = f"{running.inbox_url}  (all mail is caught here, none leaves this machine)"
    for name, link in links.items():
        console.print(Text.assemble((f"  {name:<10}", "bold"), link), soft_wrap=True)


def say_stopping(console: Console) -> None:
    """Say that what is at hand is being finished."""
    with suppress(OSError):  # a closed terminal
        console.print("Stopping; what is at hand is finished first. Ctrl-C again stops at once.")
