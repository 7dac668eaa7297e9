"""`vigil up --demo`: a person with three monitors on recorded data, set up over the API as anybody would, and the log."""

import os
import secrets
import tempfile
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console
from rich.text import Text

from adapters.demo_site import DEMO_MONITORS, DemoMonitor, DemoSite
from bootstrap.now_and_new import utc_now
from bootstrap.running import Running, StoppedEarly
from bootstrap.settings import Settings
from cli.demo_log import DemoLog
from cli.demo_person import DemoPerson, Refused
from domain.errors import Conflict
from workers.lifecycle import run_steps

ADDRESS = "demo@vigil.example"
"""A name under .example belongs to nobody (RFC 2606), so that a mail to it never reaches anybody."""
LOOPBACK = "127.0.0.0/8"
SECONDS_PER_DAY = 1.0
PASSWORD_BYTES = 12
_FILE = "demo.json"


class Kept(msgspec.Struct, kw_only=True):
    """What the next start needs to find the demo as it was left."""

    password: str
    site_port: int = 0


def demo_settings(settings: Settings) -> dict[str, object]:
    """What the demo needs otherwise than configured: monitors that look every second at a site on this machine, mail
    that is caught, and a quiet log beside the one it shows."""
    quiet = {} if "log_level" in settings.model_fields_set else {"log_level": "warning"}
    return {
        "min_interval_seconds": 1,
        "fetch_allow_networks": (*settings.fetch_allow_networks, LOOPBACK),
        "smtp_url": None,
        **quiet,
    }


class Demo:
    """The demo of a Vigil that is up."""

    def __init__(self, running: Running, data_dir: Path, console: Console) -> None:
        self._running, self._console = running, console
        self._file = data_dir / _FILE
        self._kept = _read(self._file)

    async def run(self) -> None:
        """Set up, tell what is there, and show what happens until asked to stop. Raises `Conflict` with what to do when
        the person cannot log in."""
        log = DemoLog(self._running, self._console)
        await log.start()
        site = await self._start_site()
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                person = DemoPerson(session, self._running, ADDRESS, self._kept.password)
                watched = await self._set_up(person, site)
                log.about(await person.id(), names=await person.names())
            self._tell(site, watched)
            await run_steps("live log", log.step, self._running.stop)
        except StoppedEarly:
            pass
        finally:
            await site.stop()

    async def _start_site(self) -> DemoSite:
        """The site, at the port it had before if that is free: what monitors read stays the same then."""
        site = DemoSite(now=utc_now, port=self._kept.site_port, seconds_per_day=SECONDS_PER_DAY)
        try:
            await site.start()
        except OSError:
            site = DemoSite(now=utc_now, seconds_per_day=SECONDS_PER_DAY)
            await site.start()
        self._kept.site_port = int(site.url.rpartition(":")[2])
        _write(self._file, self._kept)
        return site

    async def _set_up(self, person: DemoPerson, site: DemoSite) -> list[tuple[DemoMonitor, str]]:
        """The person's monitors with the conditions they were compiled to."""
        self._console.print("\nSetting up the demo over the API, as a person would:", style="bold")
        try:
            if await person.log_in():
                self._say("logged in again as the person of the last demo")
            else:
                await person.register()
                self._say(f"registered {ADDRESS}, followed the link in the mail, logged in")
            action_id = await person.mail_action()
            watched = []
            for monitor in DEMO_MONITORS:
                condition, how = await person.watch(monitor, f"{site.url}{monitor.path}", action_id)
                self._say(f"{how} the monitor {monitor.name!r}")
                watched.append((monitor, condition))
        except Refused as refused:
            raise Conflict(f"the demo could not be set up: {refused}") from None
        return watched

    def _say(self, what: str) -> None:
        self._console.print(Text.assemble(("  ✓ ", "green"), what), soft_wrap=True)

    def _tell(self, site: DemoSite, watched: list[tuple[DemoMonitor, str]]) -> None:
        show, running = self._console.print, self._running
        show("\nWhat is being watched, every second:", style="bold")
        for monitor, condition in watched:
            show(
                Text.assemble("  ", (monitor.name, "bold"), f"  “{monitor.prompt}”  at {monitor.path}"), soft_wrap=True
            )
            show(Text(f"    Vigil looks for: {condition}", style="dim"), soft_wrap=True)
        body = msgspec.json.encode({"email": ADDRESS, "password": self._kept.password}).decode()
        show("\nLook around:", style="bold")
        for name, what in {
            "the site": f"{site.url}  (recorded weather, a day each second, and share prices, a month each second)",
            "the mails": f"{running.inbox_url}",
            "the API": f"{running.api_url}/api/v1/docs",
            "sign in": f"{ADDRESS} with the password {self._kept.password}",
            "a token": f"curl -s {running.api_url}/api/v1/auth/login -H 'content-type: application/json' -d '{body}'",
        }.items():
            show(Text.assemble((f"  {name:<10}", "bold"), what), soft_wrap=True)
        show(
            "\nWhat happens now, as it is stored (a mail goes out when a state becomes active). Ctrl-C stops:",
            style="bold",
            soft_wrap=True,
        )


def _read(file: Path) -> Kept:
    """What was kept, or a new password that is kept from now on."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        kept = Kept(password=secrets.token_urlsafe(PASSWORD_BYTES))
        _write(file, kept)
        return kept


def _write(file: Path, kept: Kept) -> None:
    """Readable by its owner only, and never half a file: written beside its name (mode 0600) and then renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    with os.fdopen(descriptor, "wb") as written:
        written.write(msgspec.json.encode(kept))
    Path(name).replace(file)
