"""What becomes of a message: sent, tried again, given up."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import notification
from domain.event import Event
from domain.mail import MailRefused
from domain.notification import (
    ATTEMPTS_MAX,
    DeliveryDeferred,
    DeliveryStatus,
    MailKind,
    Notification,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
    NotificationSuppressed,
    is_pending,
    notification_id,
)
from tests.conftest import AT
from tests.domain.specification import Given

BASE = timedelta(seconds=30)
REQUESTED = NotificationRequested(
    kind=MailKind.ALERT, to="ada@example.org", subject="Kettle is now active", requested_at=AT
)
SENT = NotificationSent(message_id="<1@vigil.test>", code=250, message="queued", sent_at=AT)
FAILED = NotificationFailed(code=550, message="no such user", failed_at=AT)
SUPPRESSED = NotificationSuppressed(reason="unsubscribed", suppressed_at=AT)

stream = Given(Notification(), notification.evolve)
given = stream(REQUESTED)

Decide = Callable[[Notification], Sequence[Event]]


def sending(present: Notification) -> Sequence[Event]:
    return notification.record_sent(present, message_id="<1@vigil.test>", code=250, message="queued", now=AT)


def failing(*, permanent: bool = False, code: int | None = 450) -> Decide:
    return lambda present: notification.record_failure(
        present, code=code, message="try later", permanent=permanent, retry_base=BASE, now=AT
    )


def deferred(after: timedelta, code: int | None = 450) -> DeliveryDeferred:
    return DeliveryDeferred(code=code, message="try later", failed_at=AT, retry_at=AT + after)


def test_a_message_waits_until_somebody_sends_it() -> None:
    assert given.state == Notification(request=REQUESTED, status=DeliveryStatus.REQUESTED)
    assert is_pending(given.state)
    sent = given.when(sending).then_and_only_once(SENT)
    assert sent.state == Notification(request=REQUESTED, status=DeliveryStatus.SENT, attempts=1)


def test_a_passing_failure_is_tried_again_twice_as_late_each_time_until_the_attempts_are_used_up() -> None:
    waiting = given
    for seconds in (30, 60, 120, 240, 480, 960, 1920):
        waiting = waiting.when(failing()).then(deferred(timedelta(seconds=seconds)))
        assert is_pending(waiting.state)
    ended = waiting.when(failing()).then_and_only_once(NotificationFailed(code=450, message="try later", failed_at=AT))
    assert (ended.state.status, ended.state.attempts) == (DeliveryStatus.FAILED, ATTEMPTS_MAX)


def test_a_refusal_for_good_ends_it_at_once() -> None:
    given.when(failing(permanent=True, code=550)).then_and_only_once(
        NotificationFailed(code=550, message="try later", failed_at=AT)
    )


def test_a_deferred_message_knows_when_it_is_tried_again() -> None:
    assert given.state.retry_at is None
    assert given.when(failing()).then(deferred(BASE)).state.retry_at == AT + BASE


def test_a_server_that_does_not_answer_is_a_failure_without_a_code() -> None:
    given.when(failing(code=None)).then(deferred(BASE, code=None))


def test_a_message_can_be_sent_after_a_failure() -> None:
    sent = given(deferred(BASE)).when(sending).then(SENT)
    assert (sent.state.status, sent.state.attempts) == (DeliveryStatus.SENT, 2)


@pytest.mark.parametrize("end", [SENT, FAILED, SUPPRESSED], ids=["sent", "failed", "suppressed"])
@pytest.mark.parametrize("decide", [sending, failing(), failing(permanent=True)], ids=["send", "fail", "refuse"])
def test_what_has_ended_stays_as_it_is(end: Event, decide: Decide) -> None:
    ended = given(end)
    assert not is_pending(ended.state)
    ended.when(decide).changes_nothing()


def test_a_message_nobody_asked_for_is_not_pending() -> None:
    assert not is_pending(Notification())
    stream.when(sending).changes_nothing()


def test_a_suppressed_message_was_never_tried() -> None:
    assert given(SUPPRESSED).state == Notification(request=REQUESTED, status=DeliveryStatus.SUPPRESSED)


def test_a_refusal_by_the_server_says_whether_trying_again_is_of_use() -> None:
    refused = MailRefused(450, "try later", permanent=False)
    assert (refused.code, refused.message, refused.permanent, str(refused)) == (
        450,
        "try later",
        False,
        "450: try later",
    )


def test_one_firing_makes_one_message_for_one_recipient() -> None:
    firing = UUID(int=1)
    assert notification_id(firing, "Ada@Example.org") == notification_id(firing, "ada@example.org")
    assert notification_id(firing, "ben@example.org") != notification_id(firing, "ada@example.org")
    assert notification_id(UUID(int=2), "ada@example.org") != notification_id(firing, "ada@example.org")


@for_all(st.lists(st.sampled_from([sending, failing(), failing(permanent=True)]), max_size=12))
def test_no_sequence_of_reports_sends_twice_or_tries_more_often_than_allowed(reports: list[Decide]) -> None:
    present = given
    for report in reports:
        present = present(*report(present.state))
    ends = [event for event in present.events if isinstance(event, NotificationSent | NotificationFailed)]
    assert len(ends) <= 1
    assert not ends or present.events[-1] is ends[0]
    assert present.state.attempts <= ATTEMPTS_MAX
    assert is_pending(present.state) == (not ends)
