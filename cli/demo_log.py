"""The live log of the demo: what happens to one person, line by line."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from rich.console import Console
from rich.text import Text

from bootstrap.running import Running
from cli.event_lines import clean
from cli.live_log import LiveLog
from domain.event_codec import UnknownEvent, decode_entry
from domain.log_entry import LogEntry, partition_of
from domain.notification import NotificationSent

KEPT_AS = "kept as "
"""What the mail catcher answers before the id of a mail."""


class DemoLog:
    """Shows the events of one person from the moment of `start` on, also those from before it knew whose."""

    def __init__(self, running: Running, console: Console) -> None:
        self._running, self._console = running, console
        self._reader = running.parts.log_reader()
        self._heads: tuple[int, ...] = ()
        self._places: dict[int, int] = {}
        self._person: UUID | None = None
        self._log = LiveLog(console)

    async def start(self) -> None:
        """Begin where the log ends now."""
        self._heads = await self._running.parts.log.places()

    def about(self, person: UUID, *, names: Mapping[UUID, str]) -> None:
        """Show what belongs to this person, which is all in one partition; `names` are what their things are called."""
        partition = partition_of(person)
        self._person, self._places = person, {partition: self._heads[partition]}
        self._log = LiveLog(self._console, names)

    async def step(self) -> float:
        """Show what came, waiting a moment for it; how many seconds to rest."""
        for entry in await self._running.parts.people.open_entries(await self._reader.read(self._places)):
            self._places[entry.partition] = entry.place
            if entry.owner_id == self._person:
                self._show(entry)
        return 0.0

    def _show(self, entry: LogEntry) -> None:
        try:
            stored = decode_entry(entry)
        except (UnknownEvent, msgspec.DecodeError):  # written by a newer Vigil
            self._console.print(Text(f"· {clean(entry.type)}", style="dim"))
            return
        self._log.show(stored)
        if isinstance(stored.event, NotificationSent) and KEPT_AS in stored.event.message:
            mail_id = stored.event.message.rpartition(KEPT_AS)[2]
            link = f"{self._running.inbox_url}/messages/{clean(mail_id)}"
            self._console.print(Text.assemble(" " * 11, "read it at ", (link, "underline")), soft_wrap=True)
