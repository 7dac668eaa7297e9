"""Which message tells of which outage, and what it is called."""

from datetime import timedelta
from uuid import UUID

from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.action import SUBJECT_CHARS_MAX
from domain.notification import MailKind
from domain.outage_mail import hour_of, outage_mail_id, outage_subject
from tests.conftest import AT
from tests.domain.plans import MONITOR_ID


def test_an_outage_has_one_message_that_it_began_and_one_that_it_is_over() -> None:
    ids = {
        outage_mail_id(monitor, kind, since)
        for monitor in (MONITOR_ID, UUID(int=99))
        for kind in (MailKind.FAILING, MailKind.RECOVERED)
        for since in (AT, AT + timedelta(microseconds=1))
    }
    assert len(ids) == 8
    assert outage_mail_id(MONITOR_ID, MailKind.FAILING, AT) in ids


def test_an_hour_begins_when_it_is_full() -> None:
    moment = AT.replace(hour=13, minute=59, second=59, microsecond=999_999)
    assert hour_of(moment) == AT.replace(hour=13, minute=0, second=0, microsecond=0)
    assert hour_of(hour_of(moment)) == hour_of(moment)


def test_a_subject_says_what_happened_to_how_many() -> None:
    assert outage_subject(MailKind.FAILING, "Kettle", others=0) == "Vigil: Kettle cannot be read"
    assert outage_subject(MailKind.FAILING, "Kettle", others=1) == "Vigil: Kettle and 1 other cannot be read"
    assert outage_subject(MailKind.RECOVERED, "Kettle", others=12) == "Vigil: Kettle and 12 others can be read again"


@for_all(name=st.text(max_size=300), others=st.integers(0, 999), kind=st.sampled_from(list(MailKind)))
def test_a_subject_is_one_short_line_and_never_loses_what_happened(name: str, others: int, kind: MailKind) -> None:
    subject = outage_subject(kind, name, others=others)
    assert len(subject) <= SUBJECT_CHARS_MAX
    assert subject.isprintable() or not name.isprintable()
    assert "\n" not in subject
    assert "\r" not in subject
    assert subject.endswith(("cannot be read", "can be read again"))
