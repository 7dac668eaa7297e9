"""What the published schemas say about fields and tags, in words; tests prove that every field of a body is described and
that no words are left over for one that is gone."""

from collections.abc import Mapping

TAGS: Mapping[str, str] = {
    "Identity": "Accounts and sessions.",
    "Monitors": "What is watched, and what was seen. A monitor belongs to the person who created it.",
    "Actions": "What is done when something changes.",
    "Triggers": "Which change of which monitor sets off which action.",
    "Notifications": "The mails that were to be sent, and what became of them.",
    "System": "Whether everything is well.",
}
"""Tags in the order they are shown, each with what it is about."""

EVERY_SCHEMA: Mapping[str, str] = {
    "id": "The id, a UUID of version 7.",
    "version": "How often it was changed; the `ETag` for `If-Match`.",
    "created_at": "When it was created.",
    "updated_at": "When it was last changed.",
    "data": "What was asked for.",
    "pagination": "Where this page lies in its list.",
    "meta": "What surrounds the answer.",
    "monitor_id": "The monitor it belongs to.",
    "trigger_id": "The trigger it belongs to.",
    "action_id": "The action that is done.",
    "evaluation_id": "The evaluation it came from.",
    "at": "When it happened.",
}
"""Fields that mean the same wherever nothing else is said."""

_PLAN = {
    "sources": "Where to look, 1 to 10 places.",
    "schedule": "How often to look. Left out: as the prompt says, else every five minutes.",
    "condition": "When it counts, in the Common Expression Language over the facts' names: `price < 50.0`. Left out: taken"
    " from the prompt.",
    "facts": "What to read from the sources, 1 to 20 values. Left out: taken from the prompt.",
    "confirmations": "How many verdicts in a row it takes to switch the state, 1 to 10.",
    "min_confidence": "A fact less certain than this (0 to 1) makes the verdict inconclusive, which changes nothing.",
    "fires": "Whether a met condition counts when it starts to hold, or each time it is met. Left out: each time, where the"
    " condition uses `changed`, `added` or `removed`.",
}
_MONITOR = {
    "prompt": "What to watch for, in plain words, 3 to 2,000 characters.",
    "name": "Up to 120 characters, unique among your monitors. Left out: made from the prompt.",
    **_PLAN,
}
_FACT = {
    "name": "How the condition calls it.",
    "type": "What kind of value it is.",
    "value": "What was read.",
    "unit": "What a number counts.",
    "confidence": "How certain it is, 0 to 1; a selector is always certain.",
    "quote": "The words in the source it was read from.",
    "source_url": "Where it was read.",
    "evidence_hash": "The SHA-256 of what was read, in hex.",
    "observed_at": "When it was read.",
}
_CREDENTIALS = {"email": "The e-mail address.", "password": "8 to 256 characters; a few words are best."}

PARAMETERS: Mapping[str, str] = {
    "monitor_id": "The monitor's id.",
    "action_id": "The action's id.",
    "trigger_id": "The trigger's id.",
    "evaluation_id": "The evaluation's id.",
    "notification_id": "The notification's id.",
    "name": "The fact's name.",
    "kind": "Only those of this kind.",
    "state": "Only those in this state.",
    "status": "Only those of this status.",
}
"""Parameters that mean the same wherever the route says nothing else."""

FIELDS: Mapping[str, Mapping[str, str]] = {
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
    },
    "FeedSource": {"type": "An RSS or Atom feed.", "url": "An http or https address."},
    "FactSpec": {
        "name": "How the condition calls it: letters, digits and underscores.",
        "type": "What kind of value it is.",
        "unit": "What a number counts, such as `EUR`.",
        "description": "What it means, for readers and for an AI that has to find it.",
        "select": "Where it stands in the source.",
    },
    "Select": {
        "css": "A CSS selector.",
        "xpath": "An XPath expression.",
        "jsonpath": "A JSONPath (RFC 9535).",
        "csv": "A column of a CSV file.",
        "csv_row": "Which row of it, `first` or `last`.",
        "feed": "A field of a feed's items: `title`, `link`, `summary` or `id`.",
        "named": "A name to find the value by, whatever the source is.",
        "regex": "Narrows what was found to its first group, or to the whole match.",
    },
    "ActionBody": {
        "name": "Up to 120 characters.",
        "type": "A mail.",
        "to": "Verified addresses of yours, at most 10; none means your own.",
        "subject_template": "The subject, up to 200 characters; `{monitor}`, `{state}` and `{explanation}` are filled in.",
    },
    "TriggerBody": {
        "monitor_id": "Whose changes; a trigger stays with its monitor.",
        "action_id": "What to do.",
        "condition": "Which change.",
        "frequency": "How often: `once` is spent until the trigger is enabled again.",
        "cooldown": "The least time between two firings, an ISO 8601 duration up to `P366D`.",
        "name": "Up to 120 characters; made from the condition when left out.",
    },
    "RegisterBody": {
        **_CREDENTIALS,
        "name": "What to call you in mails.",
        "timezone": "An IANA time zone: `Europe/Berlin`.",
    },
    "LoginBody": _CREDENTIALS,
    "VerifyBody": {"token": "What stands after `token=` in the mailed link."},
    "RefreshBody": {"refresh_token": "The newest one; each works once."},
    "TokenPair": {
        "access_token": "Goes into the `Authorization` header.",
        "token_type": "`Bearer`.",
        "expires_in": "How many seconds the access token lives.",
        "refresh_token": "For the next pair of tokens.",
    },
    "Registered": {"email": "The address as you sent it.", "verification": "`sent`: look into the mailbox."},
    "Verified": {"verified": "True."},
    "Accepted": {"id": "The id of what was set in motion."},
    "Monitor": {
        "name": "Unique among your monitors.",
        "prompt": "What the person wrote.",
        "kind": "Whether the condition looks at the present only or compares it with history.",
        "status": "`active`, `paused` or `archived`.",
        "state": "Whether the condition holds: `unknown` until the first verdict.",
        "facts": "What is read from the sources.",
        "condition": "When it counts, in the Common Expression Language.",
        "sources": "Where it looks.",
        "schedule": "How often it looks.",
        "confirmations": _PLAN["confirmations"],
        "min_confidence": _PLAN["min_confidence"],
        "fires": "Whether a met condition counts when it starts to hold, or each time.",
        "explanation": "What is watched and when it fires, in plain words.",
        "last_evaluated_at": "When it last looked.",
        "next_due_at": "When it looks next; null while it is paused.",
    },
    "Action": {
        "name": "What you call it.",
        "type": "`email`.",
        "to": "Where mail goes; none means your own address.",
        "subject_template": "The subject with its placeholders; null for the usual one.",
    },
    "Trigger": {
        "name": "What you call it.",
        "condition": "Which change.",
        "frequency": "How often it fires.",
        "cooldown": "The least time between two firings, an ISO 8601 duration; null for none.",
        "enabled": "Whether it fires.",
        "snoozed_until": "Not before then.",
    },
    "Evaluation": {
        "status": "`failed` means that nothing could be judged; `error` says why.",
        "verdict": "What the condition said; an inconclusive verdict changes nothing.",
        "state_before": "The monitor's state before it.",
        "state_after": "The monitor's state after it.",
        "changed": "Whether the state changed.",
        "facts": "What was read.",
        "condition": "What was judged.",
        "reason": "Why the verdict is inconclusive, or not met for want of history.",
        "evidence": "Where it looked.",
        "provider": "Who read the facts.",
        "model": "With which model.",
        "cost_micros": "What it cost, in millionths of the currency.",
        "duration_ms": "How long it took, in milliseconds.",
        "error": "Why it failed.",
        "due_at": "Its slot in the schedule, or when it was asked for.",
        "started_at": "When it began.",
        "completed_at": "When it was done.",
    },
    "EvaluationError": {"code": "A stable word.", "message": "What happened, and what would help."},
    "Fact": _FACT,
    "FactPoint": _FACT,
    "FactBucket": {
        "start": "Where the span of time begins.",
        "count": "How many values were read in it.",
        "min": "The least.",
        "max": "The greatest.",
        "avg": "The mean.",
        "first": "The first.",
        "last": "The last.",
    },
    "Condition": {
        "expression": "The condition as it was then.",
        "inputs": "Every value it used: facts by name, calls such as `changed(price)` by their text.",
        "result": "What it said; null for inconclusive.",
    },
    "Evidence": {
        "url": "The address.",
        "outcome": "`ok`, `not_modified`, or what went wrong.",
        "hash": "The SHA-256 of the content, in hex.",
        "fetched_at": "When it was read.",
    },
    "Change": {"from": "The state before.", "to": "The state after."},
    "Firing": {
        "outcome": "Whether the action was done.",
        "reason": "Why it was not.",
        "change_id": "The change it is about; null when the condition was met once more.",
    },
    "Notification": {
        "kind": "What the mail is about.",
        "channel": "`email`.",
        "to": "The recipient.",
        "subject": "Its subject.",
        "status": "How far it has come.",
        "attempts": "Every attempt to deliver it.",
        "next_attempt_at": "When it is tried again.",
        "sent_at": "When the mail server took it.",
    },
    "Attempt": {
        "outcome": "What came of it.",
        "code": "The mail server's code.",
        "message": "What the mail server said.",
    },
    "Me": {
        "email": "Your address.",
        "name": "Your name.",
        "timezone": "Your IANA time zone.",
        "verified": "Whether the address is proved.",
        "roles": "`member`, `operator`, `auditor`, `admin`.",
    },
    "Pagination": {
        "limit": "How many entries a page has at most.",
        "offset": "How many entries come before; null where a list goes by cursor.",
        "total": "How many entries the list has; null where it goes by cursor.",
        "has_more": "Whether another page follows.",
        "next_cursor": "What to send as `cursor` for it.",
    },
    "Liveness": {"status": "`ok`.", "started_at": "When the process began."},
    "Readiness": {
        "status": "Whether requests can be served.",
        "checks": "Everything Vigil needs, by name.",
        "projections": "How far each projection is behind, by name.",
    },
    "Check": {"status": "`ok`, or what is wrong.", "message": "More about it."},
    "Lag": {
        "events": "How many events it has still to take in.",
        "seconds": "How long the next one has waited.",
        "unsequenced_seconds": "How long the oldest event has waited for its place in the log.",
    },
    "Meta": {
        "request_id": "Yours, or one made for you.",
        "version": "The version of the API.",
        "timestamp": "When it was answered.",
    },
    "ErrorBody": {
        "code": "Stable; decide by this.",
        "message": "What went wrong, for people.",
        "details": "Every field that is wrong; empty where no field is to blame.",
        "documentation_url": "The entry of the code in this documentation.",
        "correlation_id": "Quote it when you report a problem.",
        "timestamp": "When it happened.",
    },
    "ErrorDetail": {
        "field": "The path of the field.",
        "issue": "A stable word: `required`, `unknown`, `type`, `invalid` or `rule`.",
        "message": "What would do.",
    },
    "ErrorEnvelope": {"error": "What went wrong."},
}
"""What fields mean, by schema. A description that stands in the code (`Annotated[..., Meta(description=...)]`) goes first."""
