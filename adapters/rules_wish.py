"""A prompt taken apart: the wish itself, the words around it, quoted texts and the schedule it names."""

import re

import msgspec

from adapters.rules_quantities import COUNT_WORDS
from domain.schedule import Cron, Every, Schedule

QUOTE = "\ue000"
"""Stands around the number of a quoted text while the rest of the sentence is read."""

_STRAIGHT = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\xab": '"', "\xbb": '"', QUOTE: ""}
)
_QUOTED = re.compile(r"\"([^\"]{1,200})\"|(?<!\w)'([^']{1,200})'(?!\w)")

_TELL = (
    r"(?:(?:tell|notify|alert|e-?mail|mail|warn|inform|message|ping) me(?: by (?:e-?)?mail)?|let me know"
    r"|send (?:me )?(?:an? )?(?:e-?mail|mail|alert|message|notification)(?: to me)?"
    r"|(?:be |get )?(?:told|notified|informed|alerted)|get an alert|know)"
)
_LEAD = re.compile(
    r"(?:(?:please|hey|hi|just|can you|could you|would you|i(?:'d| would) (?:like|love)(?: you)? to|i want(?: you)? to)[, ]+)*"
    r"(?:(?:watch|monitor|track|check|follow|look at|keep an eye on) (?P<watched>(?:(?! and ).){1,60}?),? (?:and|to) )?"
    rf"(?:{_TELL} )?(?:(?:when(?:ever)?|if|once|as soon as|each time|every time|the moment|about|of)(?: and)? )+",
    re.IGNORECASE,
)
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")  # cron counts from Sunday
_SECONDS = {"second": 1, "minute": 60, "min": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_PLAIN = {"hourly": 3_600, "daily": 86_400, "weekly": 604_800}
_EVERY = (
    rf"(?:every|each) (?:(?P<count>\d{{1,4}}|{'|'.join(COUNT_WORDS)}|other) )?(?P<unit>{'|'.join(_SECONDS)})s?"
    rf"|(?P<plain>{'|'.join(_PLAIN)})|(?P<times>once|twice) (?:an? |per |every )(?P<per>hour|day|week)"
)
_AT = (
    r"(?:(?P<daily>daily|every day|each day|every morning|every evening|once a day)"
    r"|(?P<workdays>(?:every|on) (?:weekday|workday|working day)s?)"
    rf"|(?:every|each|on) (?P<weekday>{'|'.join(_WEEKDAYS)})s?)"
    r" at (?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))? ?(?P<half>am|pm|o'clock)?(?: (?P<zone>UTC|[A-Z][a-z]+/\w+))?"
)
_CHECK = r"(?:(?:and |please )*(?:check(?:ed|ing)?|look(?:ing)?|refresh|poll)(?: it| this| that| again| the page| the feed)? )"
_SCHEDULE_FIRST = re.compile(
    rf"(?:{_CHECK})?(?:{_AT}|{_EVERY})(?:[,:] ?(?:and )?| and |(?= (?:tell|notify|alert|e?-?mail|check|watch|let|send) )) ?",
    re.IGNORECASE,
)
_SCHEDULE_LAST = re.compile(rf"[,;.]? {_CHECK}?(?:{_AT}|{_EVERY})$", re.IGNORECASE)


_CONTRACTIONS = {"n't ": " not ", "it's ": "it is ", "there's ": "there is ", "can not ": "cannot "}


class Wish(msgspec.Struct, frozen=True):
    """A prompt without the words around the wish.

    `text` holds QUOTE marks for the `quotes`; `watched` is what "it" may stand for; `plain` is the text with its quotes.
    """

    text: str
    quotes: tuple[str, ...]
    watched: str | None
    schedule: Schedule | None
    plain: str

    def unquote(self, text: str) -> str | None:
        """The quoted text that `text` stands for, None when it is not one."""
        found = re.fullmatch(rf"{QUOTE}(\d+){QUOTE}", text.strip())
        return self.quotes[int(found[1])] if found else None

    def restore(self, text: str) -> str:
        """The text with its quotes, as it was written."""
        return re.sub(rf"{QUOTE}(\d+){QUOTE}", lambda found: f'"{self.quotes[int(found[1])]}"', text)


def read_wish(prompt: str) -> Wish:
    """Take a prompt apart: quotes, the schedule at either end, "please tell me when"."""
    quotes: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        quotes.append((found[1] or found[2]).strip())
        return f"{QUOTE}{len(quotes) - 1}{QUOTE}"

    text = _QUOTED.sub(put_away, " ".join(prompt.translate(_STRAIGHT).split())).rstrip(" .!?;,")
    for short, long in _CONTRACTIONS.items():
        text = re.sub(rf"(?i){short}", long, text)
    text, schedule = _take_schedule(text)
    lead = _LEAD.match(text)
    text = (text[lead.end() :] if lead else text).strip(" ,.:;")
    text = re.sub(r" ?([<>=!]=|[<>=]) ?", r" \1 ", text)
    wish = Wish(text, tuple(quotes), lead["watched"] if lead else None, schedule, "")
    return msgspec.structs.replace(wish, plain=wish.restore(text))


def schedule_in_words(schedule: Schedule) -> str:
    """A schedule as people say it: "every 10 minutes", or the cron line with its zone."""
    match schedule:
        case Every(seconds=seconds):
            unit = next((unit for unit in ("day", "hour", "minute") if seconds % _SECONDS[unit] == 0), "second")
            n = seconds // _SECONDS[unit]
            return f"every {unit}" if n == 1 else f"every {n} {unit}s"
        case Cron(line=line, timezone=timezone):
            return f"when the clock in {timezone} matches the cron line {line}"


def _take_schedule(text: str) -> tuple[str, Schedule | None]:
    """The text without a schedule at its start or end; in the middle such words belong to the wish ("daily cases")."""
    for pattern, search in ((_SCHEDULE_FIRST, _SCHEDULE_FIRST.match), (_SCHEDULE_LAST, _SCHEDULE_LAST.search)):
        found = search(text)
        schedule = _read_schedule(found) if found else None
        if found is not None and schedule is not None:
            rest = text[found.end() :] if pattern is _SCHEDULE_FIRST else text[: found.start()]
            return rest.strip(" ,;"), schedule
    return text, None


def _read_schedule(found: re.Match[str]) -> Schedule | None:
    if found["plain"]:
        return Every(seconds=_PLAIN[found["plain"].lower()])
    if found["times"]:
        return Every(seconds=_SECONDS[found["per"].lower()] // (1 if found["times"].lower() == "once" else 2))
    if found["unit"]:
        count = (found["count"] or "one").lower()
        n = 2 if count == "other" else int(count) if count.isdecimal() else COUNT_WORDS[count]
        return Every(seconds=n * _SECONDS[found["unit"].lower()]) if n else None
    hour, minute, half = int(found["hour"]), int(found["minute"] or 0), (found["half"] or "").lower()
    if half in {"am", "pm"}:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        return None
    days = "*" if found["daily"] else "1-5" if found["workdays"] else str(_WEEKDAYS.index(found["weekday"].lower()))
    return Cron(line=f"{minute} {hour} * * {days}", timezone=found["zone"] or "UTC")
