"""Examples of request bodies for the API's documentation, by the name of their schema. Tests prove that each is accepted."""

from collections.abc import Mapping, Sequence
from typing import Any

EXAMPLES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "MonitorBody": (
        {
            "prompt": "Tell me when the price is under 50",
            "sources": [{"type": "http", "url": "https://example.com/product.json"}],
            "facts": [{"name": "price", "type": "number", "unit": "EUR", "select": {"jsonpath": "$.price"}}],
            "condition": "price < 50.0",
            "schedule": {"every": "PT15M"},
        },
        {
            "prompt": "Tell me when the status page reports an incident",
            "sources": [{"type": "feed", "url": "https://example.com/status.rss"}],
        },
    ),
    "MonitorPatch": ({"name": "Price of the lamp", "schedule": {"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"}},),
    "ForkBody": ({"name": "Price of the lamp, lower", "condition": "price < 30.0"},),
    "RestoreBody": ({"name": "Price of the lamp, again"},),
    "ImportBody": (
        {
            "format": "urls",
            "urls": ["https://example.com/news", "https://example.com/jobs"],
            "schedule": {"every": "PT1H"},
        },
        {
            "format": "vigil",
            "monitors": [
                {
                    "prompt": "Tell me when the price is under 50",
                    "name": "Price of the lamp",
                    "sources": [{"type": "http", "url": "https://example.com/product.json"}],
                    "facts": [{"name": "price", "type": "number", "select": {"jsonpath": "$.price"}}],
                    "condition": "price < 50.0",
                    "paused": True,
                }
            ],
        },
    ),
    "Schedule": ({"every": "PT5M"}, {"cron": "0 8 * * 1-5", "timezone": "Europe/Berlin"}),
    "Select": ({"jsonpath": "$.price"}, {"css": ".price", "regex": "[0-9.]+"}),
    "SignalSourceBody": (
        {
            "name": "Greenhouse",
            "schema": {
                "type": "object",
                "properties": {"temperature": {"type": "number"}},
                "required": ["temperature"],
            },
            "silent_after": "P3D",
        },
    ),
    "SignalSourcePatch": ({"silent_after": None},),
    "ActionBody": ({"name": "Mail me", "type": "email", "subject_template": "{monitor} is {state}"},),
    "TriggerBody": (
        {
            "monitor_id": "01890a5d-ac96-774b-bcce-b302099a8057",
            "action_id": "01890a5d-ac96-774b-bcce-b302099a8058",
            "condition": "becomes_active",
            "frequency": "every_time",
            "cooldown": "PT1H",
        },
    ),
    "RegisterBody": (
        {
            "email": "ada@example.com",
            "password": "four words are best",
            "name": "Ada",
            "timezone": "Europe/London",
        },
    ),
    "EraseBody": ({"password": "four words are best"},),
    "LoginBody": ({"email": "ada@example.com", "password": "four words are best"},),
    "VerifyBody": ({"token": "the-token-of-the-mailed-link"},),
    "RefreshBody": ({"refresh_token": "the-newest-refresh-token"},),
}
