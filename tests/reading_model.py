"""A model of modest understanding for `tests.model_server`: it reads numbers by their names, and whether words are there."""

import json
import re
from typing import Any

from domain.model_call import TokenUsage
from tests.model_server import Answer, Asked, ok

USED = TokenUsage(input_tokens=1_000, output_tokens=50)


def content_of(asked: Asked) -> str:
    """What it was asked, without the instructions."""
    match asked.wire:
        case "messages" | "chat":
            return str(asked.body["messages"][-1]["content"])
        case "responses":
            return str(asked.body["input"])


def reads(asked: Asked) -> Answer:
    """What it finds: of a number the first after its name, of a yes or no whether its description stands there."""
    lines = content_of(asked).split("\n")
    wanted = json.loads(lines[1])
    boundary = next(line for line in lines[2:] if line.startswith("evidence-"))
    first = lines.index(boundary)
    evidence = "\n".join(lines[first + 1 : len(lines) - 1])
    return ok({fact["name"]: _read(fact, evidence) for fact in wanted}, USED)


def _read(fact: dict[str, Any], evidence: str) -> dict[str, Any]:
    if fact["type"] == "boolean":
        there = fact["description"].lower() in evidence.lower()
        quote = fact["description"] if there else evidence[:40]
        return {
            "quote": quote,
            "reason": "the words stand there" if there else "they do not",
            "value": there,
            "confidence": 0.9,
        }
    found = re.search(rf"{fact['name']}\W+(-?\d+(?:\.\d+)?)", evidence, re.IGNORECASE)
    if found is None:
        return {"quote": "", "value": None, "confidence": 0.0}
    return {"quote": found[0], "value": float(found[1]), "confidence": 0.9}
