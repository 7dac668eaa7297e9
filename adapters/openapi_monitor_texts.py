"""What the published schemas say of monitors: what is sent, what is told, and what comes out of an import."""

from collections.abc import Mapping

PLAN: Mapping[str, str] = {
    "sources": "Where to look, 1 to 10 places. Left out: the addresses in the prompt, or else a search of the web, where an AI"
    " provider can search.",
    "schedule": "How often to look. Left out: as the prompt says, else every five minutes.",
    "condition": "When it counts, in the Common Expression Language over the facts' names: `price < 50.0`. Left out: taken"
    " from the prompt.",
    "facts": "What to read from the sources, 1 to 20 values. Left out: taken from the prompt.",
    "confirmations": "How many verdicts in a row it takes to switch the state, 1 to 10.",
    "min_confidence": "A fact less certain than this (0 to 1) makes the verdict inconclusive, which changes nothing.",
    "fires": "Whether a met condition counts when it starts to hold, or each time it is met. Left out: each time, where the"
    " condition uses `changed`, `added`, `removed` or `last_notified`.",
    "reset_condition": "While the monitor is active it stays so until this is met, over the same facts: `price > 60.0`. Left"
    " out: until `condition` is no longer met.",
    "provider": "The AI provider that is asked first, of those this installation has. Left out: as the installation says.",
    "batch": "Whether what a model reads may take hours, for half the price.",
}
"""The fields of a plan as they are sent."""

_MONITOR = {
    "prompt": "What to watch for, in plain words, 3 to 2,000 characters.",
    "name": "Up to 120 characters, unique among your monitors. Left out: made from the prompt.",
    **PLAN,
}

MONITOR_FIELDS: Mapping[str, Mapping[str, str]] = {
    "MonitorBody": _MONITOR,
    "MonitorPatch": {
        **{name: text.partition(" Left out:")[0] for name, text in _MONITOR.items()},
        "condition": "When it counts, in the Common Expression Language over the facts' names: `price < 50.0`.",
    },
    "Schedule": {
        "every": "An interval as an ISO 8601 duration: `PT5M`.",
        "cron": "A cron line of five fields: `0 8 * * 1-5`.",
        "timezone": "The IANA time zone of the cron line, UTC when left out.",
    },
    "HttpSource": {
        "type": "A page, a JSON document or a CSV file.",
        "url": "An http or https address.",
        "select": "Where facts without a `select` of their own stand.",
        "headers": "Headers to send along.",
        "render": "Read a page as it is after its scripts ran in a browser, which the extra `browser` brings.",
    },
    "FeedSource": {"type": "An RSS or Atom feed.", "url": "An http or https address."},
    "SearchSource": {"type": "A search of the web; needs a search provider.", "query": "What to search for."},
    "SignalSource": {"type": "What others send.", "id": "A signal source of yours."},
    "FactSpec": {
        "name": "How the condition calls it: letters, digits and underscores.",
        "type": "What kind of value it is.",
        "unit": "What a number counts, such as `EUR`.",
        "description": "What it means, for readers and for an AI that has to find it.",
        "select": "Where it stands in the source.",
        "read_by": "Who reads it: `selection`, exactly what `select` says; or `model`, an AI provider, from the description.",
    },
    "Select": {
        "css": "A CSS selector.",
        "xpath": "An XPath expression.",
        "jsonpath": "A JSONPath (RFC 9535).",
        "csv": "A column of a CSV file.",
        "csv_row": "Which row of it, `first` or `last`.",
        "feed": "A field of a feed's items: `title`, `link`, `summary`, `id`, `published` or `author`.",
        "product": "What a shop's page says of its product: `price`, `currency`, `availability`, `name`, `brand`, `condition`,"
        " `sku`, `gtin`, `rating` or `reviews`.",
        "text": "`main`: a page's text without menus and margins.",
        "named": "A name to find the value by, whatever the source is.",
        "regex": "Narrows what was found to its first group, or to the whole match.",
    },
    "Monitor": {
        "name": "Unique among your monitors.",
        "prompt": "What the person wrote.",
        "kind": "Whether the condition looks at the present only or compares it with history.",
        "status": "`active`, `failing` (its sources cannot be read), `paused` or `archived`.",
        "state": "Whether the condition holds: `unknown` until the first verdict.",
        "facts": "What is read from the sources.",
        "condition": "When it counts, in the Common Expression Language.",
        "sources": "Where it looks.",
        "schedule": "How often it looks.",
        "confirmations": PLAN["confirmations"],
        "min_confidence": PLAN["min_confidence"],
        "fires": "Whether a met condition counts when it starts to hold, or each time.",
        "reset_condition": "What ends the active state; null: that `condition` is no longer met.",
        "provider": "The AI provider that is asked first; null: as the installation says.",
        "batch": PLAN["batch"],
        "explanation": "What is watched and when it fires, in plain words.",
        "last_evaluated_at": "When it last looked.",
        "next_due_at": "When it looks next; null while it is paused.",
        "failing": "While the status is failing: since when the sources cannot be read, and why.",
        "forecast": "What models will cost that read for it; null where none does, in lists, and of the past.",
        "compile_cost_micros": "What models cost that compiled its prompt, once, in millionths of a US dollar; null where none was"
        " paid for that, and outside the answer to its creation.",
    },
    "Forecast": {
        "looks_a_day": "How often it looks, by its schedule: for a cron line the mean of 52 weeks. Null where signals alone make"
        " it look.",
        "calls_a_day_max": "How many calls of models that comes to when the evidence is new at every look. Evidence that has not"
        " changed is not read again, and costs nothing.",
        "cost_micros_a_day_max": "What these calls cost at the price of `cost_micros_a_call`, in millionths of a US dollar.",
        "cost_micros_a_call": "What one of them costs: for evidence of typical size, or as in the trial. Larger evidence costs"
        " more.",
        "is_estimated": "Whether that price is an estimate for evidence of typical size, which every answer but that of a preview"
        " has; else it is what the trial cost.",
        "basis": "What these figures rest on, in words.",
        "notes": "What of the plan comes to nothing at present, in words: `batch`, where nobody takes batches.",
    },
    "ForkBody": {
        **{name: text.partition(" Left out:")[0] for name, text in _MONITOR.items()},
        "name": "Up to 120 characters, unique among your monitors. Left out: the old one's with a number.",
    },
    "RestoreBody": {"name": "Another name, where the old one was taken meanwhile. Left out: the old one."},
    "Plan": {
        "kind": "Whether the condition looks at the present only or compares it with history.",
        **{name: text.partition(" Left out:")[0] for name, text in PLAN.items()},
        "explanation": "What is watched and when it fires, in plain words.",
    },
    "Failing": {
        "since": "When the first look of the row began.",
        "failures": "How many looks in a row had failed when it was noticed.",
        "code": "What was wrong, `SOURCE_...`.",
        "message": "The same in words.",
    },
    "ImportBody": {
        "format": "What is sent.",
        "urls": "With `urls`: the addresses, in a list or in a text with one in each line. Lines that begin with # are"
        " passed over.",
        "monitors": "With `vigil`: up to 1,000 monitors, each as `POST /api/v1/monitors` takes it, and `paused`.",
        "schedule": "How often to look where an entry does not say it.",
        "paused": "Whether they are paused, where an entry does not say it.",
        "exported_at": "Stands in an export, and means nothing here.",
    },
    "Import": {
        "created": "How many monitors were created.",
        "refused": "How many entries were not.",
        "warnings": "What all entries shared and none of the monitors has.",
        "entries": "Each entry, in the order they were sent in.",
    },
    "Imported": {
        "entry": "Where it stood: `urls[0]`, `monitors[0]`, `watching.<id>`.",
        "id": "The new monitor; null when it was refused.",
        "name": "What it is called.",
        "paused": "Whether it waits to be resumed.",
        "code": "Why it was refused, as an error code.",
        "details": "Everything that is wrong with it.",
        "warnings": "What could not be taken over.",
    },
    "Validation": {
        "valid": "Whether it could be stored.",
        "name": "What the monitor would be called; null when something is wrong.",
        "plan": "What it would be compiled into; null when something is wrong.",
        "resets_state": "Whether it asks another question than the present monitor, so that its state is unknown again.",
        "details": "Everything that is wrong, each with its field.",
    },
    "Preview": {
        "name": "What the monitor would be called.",
        "plan": "What it would be compiled into.",
        "compile_cost_micros": "What models cost that compiled the prompt, once, in millionths of a US dollar; null where none was"
        " paid for that. Whoever creates the monitor has it compiled again.",
        "forecast": "What models will cost that read for it, after what this first evaluation cost; null where none does.",
        "evaluation": "What its first evaluation would be.",
    },
}
