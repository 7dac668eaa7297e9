"""Lengths of time as people write them in conditions."""

import re
from datetime import timedelta

from domain.errors import ConditionInvalid

WINDOW_MAX = timedelta(days=3660)
"""Ten years; a longer window is a slip of the pen."""

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_window(text: str) -> timedelta:
    """A length of time from ISO 8601 ("P7D", "PT90M", "P1W") or Go's notation ("168h", "1h30m", "7d").

    Raises `ConditionInvalid` for anything else, for months and years (their length varies), and outside 0 to ten years.
    """
    iso = re.fullmatch(
        r"P(?=.)(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=.)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", text
    )
    if iso is not None:
        parts = [(letter, n) for letter, n in zip("wdhms", iso.groups(), strict=True) if n]
    elif re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,6})?[wdhms])+", text):
        parts = [(letter, n) for n, letter in re.findall(r"([\d.]+)([wdhms])", text)]
    elif re.fullmatch(r"P[\dYMWD]+(?:T\w*)?", text):
        raise _refusal(f'months and years differ in length; write days instead of "{text}", for example "P30D"')
    else:
        raise _refusal(f'"{text}" is not a length of time; write for example "P7D", "PT90M", "168h" or "30m"')
    seconds = sum(float(n) * _SECONDS[letter] for letter, n in parts)
    if not 0 < seconds <= WINDOW_MAX.total_seconds():
        raise _refusal(f'a window is longer than nothing and at most {WINDOW_MAX.days} days; "{text}" is not')
    return timedelta(seconds=seconds)


def iso_duration(length: timedelta) -> str:
    """A length of time in ISO 8601 with days as the largest unit: "P7D", "PT1H30M", "PT0S"."""
    minutes, seconds = divmod(length.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{length.microseconds:06d}".rstrip("0") if length.microseconds else ""
    clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if n)
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    days = f"{length.days}D" if length.days else ""
    return f"P{days}T{clock}" if clock else f"P{days or 'T0S'}"


def _refusal(message: str) -> ConditionInvalid:
    return ConditionInvalid(message, field="condition")
