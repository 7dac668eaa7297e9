"""What the published schemas say about fields and tags, in words; tests prove that every field of a body is described and
that no words are left over for one that is gone."""

from collections.abc import Mapping

from adapters.openapi_evaluation_texts import EVALUATION_FIELDS
from adapters.openapi_monitor_texts import MONITOR_FIELDS

TAGS: Mapping[str, str] = {
    "Identity": "Accounts and sessions.",
    "Monitors": "What is watched, and what was seen. A monitor belongs to the person who created it.",
    "Actions": "What is done when something changes.",
    "Triggers": "Which change of which monitor sets off which action.",
    "Signals": "What others send: signal sources with their secrets, and the signals that came.",
    "Notifications": "The mails that were to be sent, and what became of them.",
    "Audit": "What happened, for auditors: every event, any stream as it was, and the proof that none was changed.",
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

_SIGNAL_SOURCE = {
    "name": "What you call it, up to 120 characters.",
    "schema": "The JSON Schema (draft 2020-12, up to 16 KiB) that signals must follow; null takes any JSON.",
    "silent_after": "After how long without a signal it counts as silent, an ISO 8601 duration: `P3D`.",
}
_SIGNAL_URL = (
    "Where signals are sent to: an absolute address where the operator has set VIGIL_PUBLIC_URL, else the path alone on the"
    " host that you reach Vigil at."
)
_SECRET = "What signals are signed with, `whsec_...`; shown this once."  # noqa: S105  a description
_CREDENTIALS = {"email": "The e-mail address.", "password": "8 to 256 characters; a few words are best."}

PARAMETERS: Mapping[str, str] = {
    "monitor_id": "The monitor's id.",
    "action_id": "The action's id.",
    "trigger_id": "The trigger's id.",
    "evaluation_id": "The evaluation's id.",
    "notification_id": "The notification's id.",
    "source_id": "The signal source's id.",
    "name": "The fact's name.",
    "stream": "The stream's id, also as `monitor-<id>`.",
    "from_position": "The first position; left out: the first of the log, or as many before `to_position` as one request"
    " verifies.",
    "to_position": "The last position; left out: the last of the log.",
    "kind": "Only those of this kind.",
    "state": "Only those in this state.",
    "status": "Only those of this status.",
}
"""Parameters that mean the same wherever the route says nothing else."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    **MONITOR_FIELDS,
    **EVALUATION_FIELDS,
    "SignalSourceBody": _SIGNAL_SOURCE,
    "SignalSourcePatch": _SIGNAL_SOURCE,
    "SignalSourceDetails": {
        **_SIGNAL_SOURCE,
        "url": _SIGNAL_URL,
        "status": "`never` before the first signal, `silent` when the last one is longer ago than `silent_after`, else `live`.",
        "last_received_at": "When the last signal came.",
        "silent_for": "How long ago that is, an ISO 8601 duration.",
        "received": "How many signals came.",
        "refused": "How many were refused although their signature was good.",
        "last_refused_at": "When that was, the last time.",
        "last_refusal": "Why, the last time: what was wrong, and where as a JSON pointer, in which `*` stands for each name that"
        " your schema does not declare.",
        "older_secret_valid_until": "Until when the secret before the present one is good; null when it is not.",
    },
    "NewSignalSource": {**_SIGNAL_SOURCE, "url": _SIGNAL_URL, "secret": _SECRET},
    "NewSecret": {"secret": _SECRET, "older_valid_until": "Until when the secret before it is good."},
    "SignalAnswer": {
        "source_id": "Where it was sent to.",
        "received_at": "When it came.",
        "evaluations": "The evaluations it asked for, one of each active monitor that watches.",
    },
    "Signal": {
        "source_id": "Where it was sent to.",
        "webhook_id": "Its sender's id for it.",
        "body": "What was sent.",
        "sent_at": "When, by its sender's clock.",
        "received_at": "When it came.",
        "evaluations": "The evaluations it asked for.",
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
    "EraseBody": {"password": "Your password, once more."},
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
    "AuditEvent": {
        "position": "Its place in the whole log, as text; null while it has none.",
        "stream_id": "The stream it belongs to.",
        "version": "Its place in its stream, from 1.",
        "owner_id": "The person it concerns.",
        "type": "What happened: `monitor.state_changed`.",
        "type_version": "Which version of this type.",
        "data": "What is told about it, as it is stored; null when it went to an archive file.",
        "metadata": "Who did it (`actor`), as part of what (`correlation_id`), because of what (`causation_id`), with which"
        " idempotency key (`command_id`, hashed) and trace (`traceparent`); null when it went to an archive file.",
        "event_id": "Its own id.",
        "recorded_at": "When it was stored, by the database's clock.",
        "hash": "SHA-256 over the hash before it and itself, in hex; null while it has no position.",
    },
    "AuditStream": {
        "id": "The stream's id.",
        "kind": "`monitor`, `trigger`, `action`, `evaluation`, `notification`, `signal_source`, `signal`, `user` or"
        " `operation`.",
        "owner_id": "The person it concerns.",
        "version": "Up to which version it is told.",
        "state": "What its events fold into.",
        "state_missing": "Why there is no state, where there should be one.",
        "events": "This page of its events.",
    },
    "Verification": {
        "holds": "Whether everything that was compared agrees.",
        "first": "The first position that was verified.",
        "last": "The last position that was verified.",
        "head": "Where the log ended.",
        "hash": "The hash of the last position, in hex.",
        "signatures_checked": "False where this server has no key: then only the chain was followed.",
        "signed_heads": "How many signed heads were compared.",
        "signed": "Up to which position a signature vouches for it; null where none lies in this part.",
        "signed_at": "When that was signed.",
        "key_id": "The SHA-256 of the public key it was signed with, in hex.",
        "fault": "What was done: `changed`, `removed`, `rewritten` or `forged`.",
        "message": "The first thing that is wrong, in a sentence.",
        "position": "Where it shows.",
        "since": "The earliest position it may have been done at.",
        "stream_id": "The stream of the event it shows at.",
        "version": "The version of the event it shows at.",
        "next_from_position": "What to send as `from_position` to go on; null at the end.",
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
    "Status": {
        "status": "`ok` or `degraded`.",
        "version": "The version of the program; that of the API is in `meta`.",
        "ai": "Who reads prompts and pages.",
    },
    "AiStatus": {"providers": "In order of preference.", "budget": "The installation's, for today (UTC)."},
    "ProviderStatus": {
        "name": "What the operator's settings call it.",
        "model": "The model that is asked for.",
        "state": "How it does.",
        "last_ok_at": "When the last of these calls began that it answered.",
        "latency_ms": "How long half of its answers took at most.",
        "failed_percent": "How many of a hundred of these calls it did not answer as it was asked to.",
        "failures": "Failures since it last answered.",
        "down_since": "Since when it rests, or is tried after a rest.",
        "rests_until": "When it is asked again.",
        "because": "Why it rests, or is tried after a rest: how the last call ended that failed.",
        "is_shared": "Whether all processes know this; false while Redis is away, and each judges by itself.",
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
        "issue": "A stable word: `required`, `unknown`, `type`, `depth`, `invalid` or `rule`.",
        "message": "What would do.",
    },
    "ErrorEnvelope": {"error": "What went wrong."},
}
"""What fields mean, by schema. A description that stands in the code (`Annotated[..., Meta(description=...)]`) goes first."""
