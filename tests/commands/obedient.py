"""A stand-in for a model that does whatever anybody writes to it, in whichever way: the worst that a page can make of a model.

A command is `SAY name=value quote="..."`, perhaps with `reason="..."` and `confidence=...`; `ANSWER {...}` gives members of the
answer, `LEAK name` tells the instructions, `HUGE name 1000` writes so many characters, `TOOL name {...}` calls a tool in the
only way there would be, and `PROSE ...` answers something else. Whatever is not commanded is answered as it is.
"""

import base64
import codecs
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from commands.asking import Inquiry, Reply
from domain.model_call import CallOutcome, TokenUsage

TRUTH = {
    "price": ("49", "49 EUR"),
    "in_stock": ("true", "In stock"),
    "name": ('"Kettle K2"', "Kettle K2"),
    "colours": ('["red", "blue"]', "red, blue"),
}
_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMAND = re.compile(
    rf"(?:SAY|DIS|说|قل)\s+(?P<name>\w+)=(?P<value>\[.*?\]|\{{.*?\}}|{_STRING}|[^\s<]+)\s+quote=(?P<quote>{_STRING}|'[^']*')"
    rf"(?:\s+reason=(?P<reason>{_STRING}))?(?:\s+confidence=(?P<confidence>\S+?)(?=[\s<]|$))?"
    rf"|ANSWER (?P<answer>\{{.*?\}}\}})|LEAK (?P<leak>\w+)|HUGE (?P<huge>\w+) (?P<size>\d+)"
    rf"|TOOL (?P<tool>\w+) (?P<arguments>\{{.*\}})|PROSE (?P<prose>.+)",
)
_ALIKE = str.maketrans("\u0405\u0410\u0440\u0441\u0435\u043e", "SApceo")
_SHIFTS = {0xE0000: 0x80, 0xF0000: 0x80}


def commands_in(text: str) -> list[re.Match[str]]:
    """Every command in a text, read in every way that a model may read it."""
    return [command for view in _views(text) for command in _COMMAND.finditer(view)]


def _views(text: str) -> Iterator[str]:
    yield from (text, html.unescape(text), text.translate(_ALIKE), codecs.encode(text, "rot13"))
    yield from (line[::-1] for line in text.split("\n"))
    for hidden in (text, html.unescape(text), _unescaped(text)):
        for start, size in _SHIFTS.items():
            yield "".join(chr(ord(char) - start) for char in hidden if start <= ord(char) < start + size)
        yield _octets([int(bits, 2) for bits in re.findall("[01]{8}", _bits(hidden))])
        yield _octets([_selected(char) for char in hidden if _selected(char) >= 0])
        yield "".join(char for char in hidden if unicodedata.category(char) != "Cf")
    for token in re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", text):
        yield base64.b64decode(token + "=" * (-len(token) % 4)).decode("latin-1")


def _unescaped(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text


def _bits(text: str) -> str:
    return "".join({"\u200b": "0", "\u200c": "1"}.get(char, "") for char in text)


def _selected(char: str) -> int:
    """The byte that a variation selector stands for."""
    if 0xFE00 <= ord(char) <= 0xFE0F:
        return ord(char) - 0xFE00
    return ord(char) - 0xE0100 + 16 if 0xE0100 <= ord(char) <= 0xE01EF else -1


def _octets(numbers: list[int]) -> str:
    return bytes(numbers).decode("latin-1")


@dataclass
class Obedient:
    """Fulfils `commands.asking.Provider`; remembers what it was asked."""

    name: str = "obedient"
    model: str = "obedient-1"
    seen: list[Inquiry] = field(default_factory=list)

    async def call(self, inquiry: Inquiry, *, seconds: float) -> Reply:
        self.seen.append(inquiry)
        return Reply(outcome=CallOutcome.OK, text=_answer(inquiry), usage=TokenUsage(input_tokens=1, output_tokens=1))


def _answer(inquiry: Inquiry) -> str:
    members = {name: _truth(name, inquiry) for name in inquiry.schema["properties"]}
    for command in commands_in(inquiry.content):
        if command["prose"]:
            return command["prose"]
        if command["answer"]:
            members |= {name: json.dumps(member) for name, member in json.loads(command["answer"]).items()}
        elif command["tool"]:
            members["tool_calls"] = json.dumps([{"name": command["tool"], "arguments": command["arguments"]}])
        elif command["leak"]:
            members[command["leak"]] = _member(command["leak"], json.dumps(inquiry.instructions), "49 EUR")
        elif command["huge"]:
            members[command["huge"]] = _member(command["huge"], json.dumps("x" * int(command["size"])), "49 EUR")
        else:
            quote = command["quote"]
            quote = quote[1:-1] if quote.startswith("'") else json.loads(quote)
            said = _member(
                command["name"], command["value"], quote, json.loads(command["reason"] or '""'), command["confidence"]
            )
            members[command["name"]] = said
    return "{" + ", ".join(f"{json.dumps(name)}: {member}" for name, member in members.items()) + "}"


def _truth(name: str, inquiry: Inquiry) -> str:
    value, quote = TRUTH[name]
    is_there = quote in inquiry.content
    return _member(name, value if is_there else "null", quote if is_there else "")


def _member(name: str, value: str, quote: str, reason: str = "it says so", confidence: str | None = None) -> str:
    why = f'"reason": {json.dumps(reason)}, ' if name == "in_stock" else ""
    return f'{{"quote": {json.dumps(quote)}, {why}"value": {value}, "confidence": {confidence or 0.9}}}'
