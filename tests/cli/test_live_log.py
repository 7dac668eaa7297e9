"""The live log: a readable line for every event, whatever is in it."""

import io
import types
import typing
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from cli.event_lines import Known, clean, render_event_line
from cli.live_log import LiveLog
from domain.evaluation import EvaluationCompleted, EvaluationFailed, Evidence, FactExtracted, Verdict
from domain.event import Event, Metadata, StreamEvent, event_types
from domain.fact import Fact, FactSpec, FactType, FactValue
from domain.model_call import CallOutcome, ModelCalled, Task, TokenUsage
from domain.monitor import ConditionMetAgain, MonitorCreated, MonitorRenamed, State, StateChanged
from domain.notification import (
    DeliveryDeferred,
    MailKind,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
)
from domain.plan import Kind, Plan
from domain.schedule import Every
from domain.source import HttpSource
from domain.trigger import Frequency, TriggerCondition, TriggerCreated, TriggerFired, TriggerSuppressed
from domain.user import EmailVerificationRequested, RoleGranted, UserRegistered

AT = datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)
MONITOR, EVALUATION, TRIGGER, MAIL, PERSON = (UUID(int=n << 80 | 0xABC000 + n) for n in range(1, 6))
SECRET = "s3cr3t-t0k3n"


def stored(event: Event, stream_id: UUID = MONITOR) -> StreamEvent:
    return StreamEvent(
        stream_id=stream_id,
        version=1,
        owner_id=PERSON,
        event=event,
        metadata=Metadata(correlation_id=PERSON, command_id=SECRET, actor="evaluator"),
        event_id=PERSON,
        recorded_at=AT,
    )


def created(name: str = "Frost") -> StreamEvent:
    source = HttpSource(url=f"http://u:{SECRET}@127.0.0.1/x?key={SECRET}", headers={"Authorization": SECRET})
    plan = Plan(
        kind=Kind.CURRENT_STATE,
        facts=(FactSpec(name="temp_max", type=FactType.NUMBER),),
        condition="temp_max < 5.0",
        schedule=Every(seconds=60),
        sources=(source,),
        explanation="below 5",
    )
    return stored(MonitorCreated(name=name, prompt="Tell me when temp_max drops below 5", plan=plan, created_at=AT))


def fact(value: FactValue = 4.4, unit: str | None = "C") -> StreamEvent:
    read = Fact(
        name="temp_max",
        type=FactType.NUMBER,
        value=value,
        unit=unit,
        quote="4.4",
        source_url="http://127.0.0.1/",
        evidence_hash="0" * 64,
        observed_at=AT,
    )
    return stored(FactExtracted(monitor_id=MONITOR, fact=read), EVALUATION)


def completed(
    before: State = State.INACTIVE,
    after: State = State.INACTIVE,
    verdict: Verdict = Verdict.NOT_MET,
    inputs: dict[str, FactValue | None] | None = None,
    reason: str | None = None,
) -> StreamEvent:
    evidence = Evidence(url=f"http://127.0.0.1/?key={SECRET}", outcome="ok", fetched_at=AT)
    event = EvaluationCompleted(
        monitor_id=MONITOR,
        plan_revision=1,
        due_at=AT,
        verdict=verdict,
        state_before=before,
        state_after=after,
        condition="temp_max < 5.0",
        inputs={"temp_max": 12.8} if inputs is None else inputs,
        streak=1,
        reason=reason,
        evidence=(evidence,),
        provider="rules",
        duration_ms=3,
        started_at=AT,
        completed_at=AT,
    )
    return stored(event, EVALUATION)


def requested() -> StreamEvent:
    event = NotificationRequested(
        kind=MailKind.ALERT,
        to="ada@example.org",
        subject="Frost: 4.4 C",
        monitor_id=MONITOR,
        token_id=UUID(int=99),
        requested_at=AT,
    )
    return stored(event, MAIL)


class Screen:
    """A console that keeps what was printed."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8", width: int = 100) -> None:
        self.bytes = io.BytesIO()
        self.file = io.TextIOWrapper(self.bytes, encoding=encoding, write_through=True)
        self.console = Console(
            file=self.file, force_terminal=terminal, width=width, color_system="standard" if terminal else None
        )
        self.log = LiveLog(self.console, timezone=UTC)

    def show(self, *events: StreamEvent) -> str:
        self.bytes.seek(0)
        self.bytes.truncate()
        for event in events:
            self.log.show(event)
        return self.bytes.getvalue().decode(self.file.encoding)


def test_a_change_is_told_with_the_monitors_name_and_both_states() -> None:
    screen = Screen()
    changed = StateChanged(from_state=State.INACTIVE, to_state=State.ACTIVE, evaluation_id=EVALUATION, changed_at=AT)
    assert screen.show(created()) == "09:05:07 + watching    Frost  Tell me when temp_max drops below 5\n"
    assert screen.show(stored(changed)) == "09:05:07 ● changed     Frost  inactive → active\n"


def test_states_have_colours_on_a_terminal_and_none_elsewhere() -> None:
    changed = StateChanged(from_state=State.INACTIVE, to_state=State.ACTIVE, evaluation_id=EVALUATION, changed_at=AT)
    shown = Screen(terminal=True).show(stored(changed))
    assert "\x1b[36minactive\x1b[0m" in shown
    assert "\x1b[1;32mactive\x1b[0m" in shown
    assert "\x1b" not in Screen().show(stored(changed))


def test_an_evaluation_is_one_line_with_its_facts() -> None:
    screen = Screen()
    screen.show(created())
    assert screen.show(fact()) == ""
    shown = screen.show(completed(State.INACTIVE, State.ACTIVE, Verdict.MET))
    assert shown == "09:05:07 · looked      Frost  temp_max 4.4 C; met\n"
    # The next evaluation does not inherit them: without facts its inputs are told.
    assert "temp_max 12.8; not met" in screen.show(completed())


def test_an_evaluation_that_changed_nothing_is_dim_from_end_to_end() -> None:
    quiet = render_event_line(completed())
    loud = render_event_line(completed(State.INACTIVE, State.ACTIVE, Verdict.MET))

    def dim(line: Text) -> set[int]:
        return {i for span in line.spans if str(span.style) == "dim" for i in range(span.start, span.end)}

    assert dim(quiet) >= set(range(9, len(quiet)))
    assert dim(loud) == set(range(9))


def test_an_inconclusive_evaluation_says_why() -> None:
    line = render_event_line(
        completed(verdict=Verdict.INCONCLUSIVE, inputs={"temp_max": None}, reason="no such member")
    )
    assert line.plain.endswith("temp_max not known; inconclusive (no such member)")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (False, "no"),
        (1234567.0, "1234567"),
        (0.1, "0.1"),
        ("sun", "sun"),
        ([], "0 items"),
        (["a"], "1 item: a"),
        (["a", "b"], "2 items: a, b"),
        ("x" * 100, "x" * 39 + "…"),
    ],
)
def test_values_are_told_for_people(value: FactValue, shown: str) -> None:
    assert render_event_line(fact(value, None)).plain.endswith(f"temp_max {shown}")


def test_mail_is_told_with_its_recipient_and_subject() -> None:
    screen = Screen()
    sent = NotificationSent(message_id="<1@vigil>", code=250, message="ok", sent_at=AT)
    screen.show(created())
    assert "mail due    Frost  to ada@example.org: Frost: 4.4 C" in screen.show(requested())
    assert screen.show(stored(sent, MAIL)) == "09:05:07 ✉ mail sent   Frost  to ada@example.org: Frost: 4.4 C\n"
    # Forgotten when sent: the same event alone still gives a line.
    assert screen.show(stored(sent, MAIL)) == "09:05:07 ✉ mail sent  \n"


def test_mail_that_does_not_go_out_is_told_with_the_reason() -> None:
    screen = Screen()
    later = DeliveryDeferred(code=451, message="busy", failed_at=AT, retry_at=AT + timedelta(seconds=30))
    never = NotificationFailed(code=None, message="no such host", failed_at=AT)
    screen.show(created(), requested())
    assert screen.show(stored(later, MAIL)).endswith("mail later  Frost  451: busy; again at 09:05:37 UTC\n")
    assert screen.show(stored(never, MAIL)).endswith("mail failed Frost  no such host\n")


def test_failures_and_triggers_are_told() -> None:
    screen = Screen()
    screen.show(created())
    failed = EvaluationFailed(
        monitor_id=MONITOR,
        plan_revision=1,
        due_at=AT,
        code="SOURCE_UNREACHABLE",
        message=f"http://u:{SECRET}@127.0.0.1:9/x?key={SECRET} refused",
        evidence=(),
        duration_ms=1,
        started_at=AT,
        completed_at=AT,
    )
    assert screen.show(stored(failed, EVALUATION)).endswith(
        "! failed      Frost  SOURCE_UNREACHABLE: http://127.0.0.1:9/x?… refused\n"
    )
    trigger = TriggerCreated(
        monitor_id=MONITOR,
        action_id=MAIL,
        name="Mail me",
        condition=TriggerCondition.BECOMES_ACTIVE,
        frequency=Frequency.EVERY_TIME,
        created_at=AT,
    )
    assert "Mail me  becomes active, every time" in screen.show(stored(trigger, TRIGGER))
    about = {"firing_id": MAIL, "monitor_id": MONITOR, "evaluation_id": EVALUATION, "occasion": 1}
    fired = TriggerFired(**about, fired_at=AT)  # type: ignore[arg-type]  # a dict of mixed values
    kept = TriggerSuppressed(**about, reason="once_already_fired", suppressed_at=AT)  # type: ignore[arg-type]  # as above
    assert screen.show(stored(fired, TRIGGER)).endswith("fired       Frost  Mail me\n")
    assert screen.show(stored(kept, TRIGGER)).endswith("suppressed  Frost  Mail me: once already fired\n")


def called(**others: object) -> StreamEvent:
    fields: dict[str, object] = {
        "task": Task.EXTRACT, "provider": "claude", "model": "claude-haiku-4-5", "outcome": CallOutcome.OK,
        "usage": TokenUsage(), "cost_micros": 1_200, "prices": "p", "started_at": AT, "duration_ms": 900,
    }  # fmt: skip
    return stored(ModelCalled(**{**fields, **others}), EVALUATION)  # type: ignore[arg-type]  # fields by name


def test_a_call_of_a_model_is_told_with_who_was_asked_how_it_ended_and_what_it_cost() -> None:
    screen = Screen(width=1000)
    screen.show(created())
    assert (
        screen.show(called(monitor_id=MONITOR))
        == "09:05:07 · called      Frost  claude claude-haiku-4-5: ok, 0.0012 USD\n"
    )
    assert screen.show(called()) == "09:05:07 · called       claude claude-haiku-4-5: ok, 0.0012 USD\n"
    lost = called(outcome=CallOutcome.RATE_LIMITED, is_estimated=True, message="claude said\x1b 429", model="a\nb")
    assert (
        screen.show(lost) == "09:05:07 ! called       claude a b: rate limited, at most 0.0012 USD (claude said 429)\n"
    )


def test_a_renamed_monitor_is_told_by_its_old_name_once_and_then_by_the_new() -> None:
    screen = Screen()
    screen.show(created())
    assert "Frost  now Ice" in screen.show(stored(MonitorRenamed(name="Ice", renamed_at=AT)))
    assert " Ice" in screen.show(stored(ConditionMetAgain(evaluation_id=EVALUATION, met_at=AT)))


def test_names_can_be_known_from_before_and_an_unknown_monitor_is_told_by_the_end_of_its_id() -> None:
    again = stored(ConditionMetAgain(evaluation_id=EVALUATION, met_at=AT))
    out = io.StringIO()
    LiveLog(Console(file=out, width=80), {MONITOR: "From before"}, timezone=UTC).show(again)
    assert "From before" in out.getvalue()
    assert f"…{MONITOR.hex[-6:]}" in render_event_line(again).plain


def test_the_time_is_told_in_the_zone_that_was_asked_for() -> None:
    berlin = timezone(timedelta(hours=1))
    assert render_event_line(completed(), timezone=berlin).plain.startswith("10:05:07 ")
    local = AT.astimezone()
    assert render_event_line(completed(), timezone=None).plain.startswith(f"{local:%H:%M:%S} ")


def test_no_secret_is_shown() -> None:
    screen = Screen(width=1000)
    token = EmailVerificationRequested(token_id=UUID(int=99), email="ada@example.org", expires_at=AT)
    person = UserRegistered(email="ada@example.org", name="Ada", timezone="UTC", registered_at=AT)
    role = RoleGranted(role="auditor", granted_at=AT)
    shown = screen.show(
        created(), fact(f"see https://x.example/reset?token={SECRET}#{SECRET}"), completed(), requested()
    )
    shown += screen.show(stored(person, PERSON), stored(token, PERSON), stored(role, PERSON))
    assert SECRET not in shown
    assert UUID(int=99).hex[-6:] not in shown
    assert "see https://x.example/reset?…" in shown


class SomethingNew(Event, frozen=True, kw_only=True):
    """An event of a version of Vigil to come, without even a tag."""

    note: str


class SomethingTagged(Event, frozen=True, kw_only=True):
    tag = "report.was_written"


def test_an_event_nobody_knows_is_told_by_its_tag_or_class() -> None:
    screen = Screen()
    assert screen.show(stored(SomethingNew(note=SECRET))) == "09:05:07 · SomethingN…\n"
    assert screen.show(stored(SomethingTagged())) == "09:05:07 · report       was written\n"


def test_a_narrow_terminal_cuts_the_line_and_a_pipe_keeps_it() -> None:
    long = created("N" * 100)
    assert len(Screen(terminal=True, width=40).show(long).splitlines()) == 1
    whole = Screen(width=40).show(long)
    assert whole.count("\n") == 1
    assert whole.endswith("drops below 5\n")


def test_a_terminal_without_unicode_gets_question_marks_and_no_error() -> None:
    changed = StateChanged(from_state=State.INACTIVE, to_state=State.ACTIVE, evaluation_id=EVALUATION, changed_at=AT)
    assert Screen(encoding="ascii").show(stored(changed)).endswith("inactive ? active\n")


async def test_a_whole_stream_can_be_followed() -> None:
    async def events() -> AsyncIterator[StreamEvent]:
        for event in (created(), fact(), completed()):
            yield event

    screen = Screen()
    await screen.log.follow(events())
    assert screen.bytes.getvalue().count(b"\n") == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r\n", "a b c"),
        ("\x1b[31mred\x1b]0;title\x07", "[31mred ]0;title"),
        ("left\u202eright", "left right"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
        ("postgresql://me:pw@127.0.0.1/db?x=1", "postgresql://127.0.0.1/db?…"),
        ("http://u:p@ss@127.0.0.1/", "http://127.0.0.1/"),
        ("https://a.example/page", "https://a.example/page"),
    ],
)
def test_texts_from_outside_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown


def values_of(kind: object) -> st.SearchStrategy[object]:
    """Any value of a field's type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return events_of(kind)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([values_of(part) for part in inner])
    if origin is tuple:
        return st.lists(values_of(inner[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(values_of(inner[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(values_of(inner[0]), values_of(inner[1]), max_size=2)
    if kind is datetime:
        return st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001 - Hypothesis wants naive bounds
    return st.from_type(typing.cast("type[object]", kind))


def events_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[object]:
    return st.builds(kind, **{field.name: values_of(field.type) for field in msgspec.structs.fields(kind)})


@pytest.mark.parametrize("tag", sorted(event_types()))
@settings(max_examples=20)
@given(data=st.data())
def test_every_kind_of_event_gives_at_most_one_printable_line(tag: str, data: st.DataObject) -> None:
    event = data.draw(events_of(event_types()[tag]))
    assert isinstance(event, Event)
    screen = Screen(width=60)
    shown = screen.show(stored(event))
    assert shown.count("\n") == (0 if isinstance(event, FactExtracted) else 1)
    assert shown.removesuffix("\n").isprintable()
    line = render_event_line(stored(event), Known(monitors={MONITOR: "x"})).plain
    assert line.isprintable()
    assert line.startswith("09:05:07 ")
