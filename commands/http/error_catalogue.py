"""Every error code the API answers: what it means, what to do about it, and which requests can meet it.

The codes themselves stand where they are raised (`domain.errors`, `commands.*`, `commands.http.failures`); a test proves
that none is missing here and that the statuses agree.
"""

from enum import StrEnum

import msgspec


class Reach(StrEnum):
    """Which requests can be answered with a code."""

    EVERYWHERE = "everywhere"
    TOKEN = "token"  # noqa: S105  requests that need an access token; no secret
    INPUT = "input"
    BODY = "body"
    ONE_THING = "one_thing"
    CONDITIONAL = "conditional"
    COMMAND = "command"
    FRESH_READ = "fresh_read"
    NAMED = "named"


class ErrorCode(msgspec.Struct, frozen=True, kw_only=True):
    """An error code with its HTTP status (None: a 4xx that has no code of its own), cause, cure, and a message as the API
    writes it. `operations` are the operation ids that can meet it, where `reach` is `NAMED`."""

    code: str
    status: int | None
    cause: str
    cure: str
    example: str
    reach: Reach = Reach.NAMED
    operations: tuple[str, ...] = ()


ERROR_CATALOGUE: tuple[ErrorCode, ...] = (
    ErrorCode(
        code="VALIDATION_ERROR",
        status=400,
        cause="The body is not JSON, a field is unknown, missing or of the wrong type, or a value is out of bounds. A"
        " condition that does not compile against its facts counts too.",
        cure="Read `details`: each entry names a field (a path such as `sources[0].url`), what is wrong with it, and what"
        " would do. Correct them all and send the request again.",
        example="the request is not valid; see details",
        reach=Reach.INPUT,
    ),
    ErrorCode(
        code="SEARCH_NOT_AVAILABLE",
        status=400,
        cause="A source is a search of the web, and this installation has no search provider: an AI provider brings it.",
        cure="Name the pages or feeds that would be found as `http` or `feed` sources, or ask the operator for a provider of"
        " web search.",
        example="No search provider is set up here. Name pages or feeds instead, or ask the operator for a provider of web"
        " search.",
        operations=("create_monitor", "replace_monitor", "change_monitor", "fork_monitor", "preview_monitor"),
    ),
    ErrorCode(
        code="UNAUTHENTICATED",
        status=401,
        cause="The request has no access token, or the token is not one of ours or has expired.",
        cure="Send `Authorization: Bearer <access_token>`. When the token has expired, take the next pair from"
        " `POST /api/v1/auth/refresh`; without a refresh token log in again.",
        example="the access token is not valid or has expired; log in again",
        reach=Reach.TOKEN,
    ),
    ErrorCode(
        code="INVALID_CREDENTIALS",
        status=401,
        cause="The address or the password is wrong, or the address was never verified. Which of these is not told, so"
        " that nobody can find out who has an account.",
        cure="Check both, and follow the link in the verification mail. Registering the same address again sends a new"
        " one.",
        example="The address or the password is wrong, or the address is not verified yet.",
        operations=("log_in", "erase_me"),
    ),
    ErrorCode(
        code="SESSION_INVALID",
        status=401,
        cause="The refresh token was used before, its session was ended, or it has expired. A token that comes back after"
        " it was used ends its whole session, because one of the two senders must have stolen it.",
        cure="Log in again. Keep only the newest refresh token, and let only one place of your program refresh.",
        example="The refresh token is not valid: it was used before, has ended or expired. Log in again.",
        operations=("refresh",),
    ),
    ErrorCode(
        code="SIGNATURE_INVALID",
        status=401,
        cause="A signal is not signed as Standard Webhooks asks: one of the headers `webhook-id`, `webhook-timestamp` and"
        " `webhook-signature` is missing or malformed, the time is more than five minutes off, or no secret of the signal"
        " source made the signature. An address where no signal source is answers the same.",
        cure="Read `details`: `field` is the header. Sign `<webhook-id>.<webhook-timestamp>.<body>`, the body byte for byte"
        " as it is sent, with HMAC-SHA-256 under the base64-decoded part of the secret after `whsec_`. Sign each attempt"
        " anew, with the same `webhook-id`. After a lost or leaked secret rotate it: `POST"
        " /api/v1/signal-sources/{id}/rotate-secret`.",
        example="The signature is not good; see details.",
        operations=("send_signal",),
    ),
    ErrorCode(
        code="FORBIDDEN",
        status=403,
        cause="You are known, but this needs a role you do not have.",
        cure="Ask an administrator of the installation for the role. What belongs to somebody else is answered with 404,"
        " never with 403. A role counts from the next login on.",
        example="this needs the role auditor or admin; ask an administrator of the installation",
        operations=("list_audit_events", "read_audit_stream", "verify_audit_log"),
    ),
    ErrorCode(
        code="REGISTRATION_CLOSED",
        status=403,
        cause="The operator of this installation has closed registration.",
        cure="Ask the operator for an account.",
        example="New accounts are not open here. Ask the operator for one.",
        operations=("register",),
    ),
    ErrorCode(
        code="NOT_FOUND",
        status=404,
        cause="There is nothing at this address, the thing was deleted, or it belongs to somebody else. These are answered"
        " alike on purpose.",
        cure="Check the path and the id, and whose token you send.",
        example="There is no such thing, or it is not yours.",
        reach=Reach.ONE_THING,
    ),
    ErrorCode(
        code="METHOD_NOT_ALLOWED",
        status=405,
        cause="The path exists, but not with this method.",
        cure="Use one of the methods in the `Allow` header of the answer.",
        example="this path takes only GET, OPTIONS",
    ),
    ErrorCode(
        code="NOT_ACCEPTABLE",
        status=406,
        cause="The `Accept` header allows none of the forms this can be answered in.",
        cure="Accept `application/json`, or leave the header out.",
        example="Not Acceptable",
    ),
    ErrorCode(
        code="CONFLICT",
        status=409,
        cause="The request does not fit the state the thing is in, such as an evaluation of a paused monitor.",
        cure="Read the message, bring the thing into the state it names, and try again.",
        example="this monitor is paused; resume it first",
        operations=("evaluate_monitor",),
    ),
    ErrorCode(
        code="DUPLICATE_NAME",
        status=409,
        cause="You have another monitor of this name. Names are compared without regard to case.",
        cure="Choose another name, or leave `name` out when you create or fork a monitor: then Vigil finds a free one. To"
        " restore a monitor whose name was taken meanwhile, send another `name`.",
        example="You already have one with this name. Choose another name.",
        operations=("create_monitor", "replace_monitor", "change_monitor", "fork_monitor", "restore_monitor"),
    ),
    ErrorCode(
        code="VERSION_CONFLICT",
        status=409,
        cause="Others changed the same thing at the same moment, and kept being faster.",
        cure="Read the thing again, see whether your change still makes sense, and send it again. `If-Match` makes sure"
        " that you never overwrite what you have not seen.",
        example="somebody changed this at the same moment; read it and try again",
        reach=Reach.CONDITIONAL,
    ),
    ErrorCode(
        code="PRECONDITION_FAILED",
        status=412,
        cause="`If-Match` names a version that is no longer the present one, or that never was one.",
        cure="Read the thing again, take its new `ETag`, look at what changed, and repeat your change with it.",
        example="The If-Match header does not name the present version. Read it again and repeat your change.",
        reach=Reach.CONDITIONAL,
    ),
    ErrorCode(
        code="BODY_TOO_LARGE",
        status=413,
        cause="The body has more bytes than the API takes.",
        cure="Send less: nothing the API knows comes near the bound.",
        example="Request Entity Too Large",
        reach=Reach.BODY,
    ),
    ErrorCode(
        code="UNSUPPORTED_MEDIA_TYPE",
        status=415,
        cause="The body is of a type the API does not read.",
        cure="Send JSON and say so: `Content-Type: application/json`.",
        example="Unsupported Media Type",
        reach=Reach.BODY,
    ),
    ErrorCode(
        code="IDEMPOTENCY_KEY_REUSED",
        status=422,
        cause="This `Idempotency-Key` came with another request before: another path or another body.",
        cure="Make a new key for each command, and send the old one only to repeat the very same request.",
        example="The Idempotency-Key was used for another request. Make a new key for each command.",
        reach=Reach.COMMAND,
    ),
    ErrorCode(
        code="MONITOR_LIMIT_EXCEEDED",
        status=422,
        cause="You have as many active monitors as one person may have here.",
        cure="Pause or delete a monitor you no longer need, or ask the operator to raise the limit.",
        example="You have as many active monitors as your account allows. Pause or delete one first.",
        operations=("create_monitor", "resume_monitor", "fork_monitor", "restore_monitor"),
    ),
    ErrorCode(
        code="MONITOR_TOTAL_EXCEEDED",
        status=422,
        cause="You have as many monitors as one person may have here; paused ones count, deleted ones do not.",
        cure="Delete a monitor you no longer need (pausing one does not help), or ask the operator to raise the limit.",
        example="You have as many monitors as your account allows, paused ones included. Delete one first.",
        operations=("create_monitor", "fork_monitor", "restore_monitor"),
    ),
    ErrorCode(
        code="SIGNAL_SOURCE_LIMIT_EXCEEDED",
        status=422,
        cause="You have as many signal sources as one person may have here.",
        cure="Delete a signal source you no longer need. One source can be sent signals by many, and watched by many"
        " monitors.",
        example="You have as many signal sources as your account allows. Delete one first.",
        operations=("create_signal_source",),
    ),
    ErrorCode(
        code="PROMPT_NOT_UNDERSTOOD",
        status=422,
        cause="The prompt could not be compiled into facts and a condition: no rule fits it, and no AI provider is there"
        " to read it, or what it made of the prompt does not do.",
        cure="Read the message, which says what was tried. Say it more plainly (what to look at, and when to tell you), give"
        " `facts` and `condition` yourself, or ask the operator for an AI provider.",
        example="This prompt needs facts and a condition given explicitly, or an AI provider.",
        operations=(
            *("create_monitor", "replace_monitor", "change_monitor", "fork_monitor", "preview_monitor"),
            "backtest_monitor",
        ),
    ),
    ErrorCode(
        code="PROMPT_AMBIGUOUS",
        status=422,
        cause="The prompt can mean things that differ, and the AI provider that read it asks back. Nothing was stored.",
        cure="Read `details`: each entry with the issue `question` is one. Write the answers into the prompt and send it"
        " again, or give `facts` and `condition` yourself.",
        example="This prompt can be read in more than one way. Answer the questions in details within the prompt, and send it"
        " again.",
        operations=(
            *("create_monitor", "replace_monitor", "change_monitor", "fork_monitor", "preview_monitor"),
            "backtest_monitor",
        ),
    ),
    ErrorCode(
        code="AI_BUDGET_EXCEEDED",
        status=422,
        cause="The prompt needs an AI provider, and a call may cost more than is left of what may be spent today: of one person, or"
        " of the installation. The message says which, and how much is left.",
        cure="Give `facts` and `condition` yourself, which costs nothing, try again tomorrow (UTC), or ask the operator for a"
        " larger budget.",
        example="A call may cost more than is left of today's AI budget. Give facts and a condition yourself, or try again after"
        " midnight UTC.",
        operations=(
            *("create_monitor", "replace_monitor", "change_monitor", "fork_monitor", "preview_monitor"),
            "backtest_monitor",
        ),
    ),
    ErrorCode(
        code="BACKTEST_TOO_LONG",
        status=422,
        cause="The evaluations of the period cannot be gone through in 20 seconds, most often because much evidence is read"
        " anew.",
        cure="Take a shorter period: give `from`, or a later one. Judging stored facts (`over` is `facts`) is faster than"
        " reading the evidence.",
        example="This period takes too long to go through. Take a shorter one: give from, or a later one.",
        operations=("backtest_monitor",),
    ),
    ErrorCode(
        code="RULE_VIOLATION",
        status=422,
        cause="The request is well formed but breaks a rule that has no code of its own.",
        cure="Read the message; it says which rule.",
        example="The request breaks a rule.",
    ),
    ErrorCode(
        code="REQUEST_REFUSED",
        status=None,
        cause="The request was refused for a reason that has no code of its own; the status says more.",
        cure="Read the message and the status. If neither helps, tell the operator the correlation id.",
        example="the request is not acceptable",
    ),
    ErrorCode(
        code="STREAM_LIMIT_EXCEEDED",
        status=429,
        cause="You have as many live streams open as one person may have.",
        cure="Close one before you open another. A stream whose connection broke without a word counts until its access"
        " token expires.",
        example="you have as many live streams open as one person may have; close one first",
        operations=("stream_monitor",),
    ),
    ErrorCode(
        code="RATE_LIMITED",
        status=429,
        cause="Too many requests came in too short a time.",
        cure="Wait as many seconds as `Retry-After` says, then go on more slowly.",
        example="Too Many Requests",
        reach=Reach.EVERYWHERE,
    ),
    ErrorCode(
        code="INTERNAL_ERROR",
        status=500,
        cause="A defect of Vigil. What happened is in the operator's log and not in the answer.",
        cure="Repeat the request once, with the same `Idempotency-Key` if it was a command. If it happens again, tell the"
        " operator the correlation id.",
        example="something went wrong on our side; the correlation id helps us find it",
        reach=Reach.EVERYWHERE,
    ),
    ErrorCode(
        code="SERVICE_UNAVAILABLE",
        status=503,
        cause="Something Vigil needs, mostly its database, does not answer right now.",
        cure="Repeat the request after as many seconds as `Retry-After` says; give commands an `Idempotency-Key`, so that"
        " repeating them is safe.",
        example="a part of Vigil does not answer right now; try again soon",
        reach=Reach.EVERYWHERE,
    ),
    ErrorCode(
        code="AI_UNAVAILABLE",
        status=503,
        cause="The prompt needs an AI provider, and none of those that are set up answers right now. Monitors that are there"
        " already go on.",
        cure="Repeat the request after as many seconds as `Retry-After` says, with the same `Idempotency-Key`; or give"
        " `facts` and `condition` yourself.",
        example="No AI provider answers at present. Try again soon, or give facts and a condition yourself.",
        operations=(
            *("create_monitor", "replace_monitor", "change_monitor", "fork_monitor", "preview_monitor"),
            "backtest_monitor",
        ),
    ),
    ErrorCode(
        code="STALE_READ",
        status=503,
        cause="`Vigil-Min-Position` asks for more than the read tables have seen so far, also after two seconds of"
        " waiting.",
        cure="Ask again after as many seconds as `Retry-After` says, or leave the header out and take what is there.",
        example="the read tables have not reached Vigil-Min-Position yet; try again soon, or leave the header out",
        reach=Reach.FRESH_READ,
    ),
)
"""Sorted by status."""
