"""What is done when a trigger fires, and to whom mail may go."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain import action
from domain.action import Action, ActionCreated, ActionDeleted, ActionRevised, EmailAction
from domain.errors import InvalidInput, NotFound, RuleViolation
from domain.event import Event
from domain.mail import render_subject
from tests.conftest import AT
from tests.domain.specification import Given

OWN = "Ada@example.org"
LATER = AT + timedelta(minutes=5)
PLAIN = EmailAction()

given = Given(Action(), action.evolve)
CREATED = ActionCreated(name="Mail me", config=PLAIN, created_at=AT)
DELETED = ActionDeleted(deleted_at=AT)

Decide = Callable[[Action], Sequence[Event]]


def creating(name: str = "Mail me", **config: object) -> Decide:
    made = EmailAction(**config)  # type: ignore[arg-type]  # the fields of the case
    return lambda _present: action.create(name=name, config=made, own_address=OWN, now=AT)


def revising(name: str = "Mail me", **config: object) -> Decide:
    made = EmailAction(**config)  # type: ignore[arg-type]  # the fields of the case
    return lambda present: action.revise(present, name=name, config=made, own_address=OWN, now=LATER)


def deleting(present: Action) -> Sequence[Event]:
    return action.delete(present, now=LATER)


def test_a_new_action_mails_to_its_owner() -> None:
    assert given.when(creating()).then(CREATED).state == Action(name="Mail me", config=PLAIN)


@pytest.mark.parametrize("to", [(OWN,), ("ada@EXAMPLE.org",), ()])
def test_an_address_of_ones_own_is_taken_in_any_case_of_letters(to: tuple[str, ...]) -> None:
    assert given.when(creating(to=to)).refusal is None


@pytest.mark.parametrize(
    ("to", "field"),
    [
        (("eve@example.org",), "to[0]"),
        ((OWN, "eve@example.org"), "to[1]"),
        ((OWN, OWN.lower()), "to[1]"),
        ((f"{OWN}\nBcc: eve@example.org",), "to[0]"),
        (("",), "to[0]"),
        ((OWN,) * 11, "to"),
    ],
)
def test_mail_goes_nowhere_else_and_nowhere_twice(to: tuple[str, ...], field: str) -> None:
    given.when(creating(to=to)).is_refused(InvalidInput, field=field)
    given(CREATED).when(revising(to=to)).is_refused(InvalidInput, field=field)


@pytest.mark.parametrize(
    "template",
    ["x", "s" * 200, "{monitor}: {state}", "{explanation}{explanation}", "100 % {", "}{", "{{7*7}}", "{monitor.name}"],
)
def test_a_subject_may_hold_the_placeholders_and_is_otherwise_plain_text(template: str) -> None:
    assert given.when(creating(subject_template=template)).refusal is None


@pytest.mark.parametrize("template", ["", "s" * 201, "two\nlines", "nul\0", "{price}", "{}", "{monitor} {password}"])
def test_a_subject_that_cannot_be_filled_is_refused(template: str) -> None:
    given.when(creating(subject_template=template)).is_refused(InvalidInput, field="subject_template")


def test_a_refused_placeholder_is_named_together_with_those_there_are() -> None:
    refusal = given.when(creating(subject_template="{price}")).refusal
    assert refusal is not None
    assert refusal.message == "{price} is not a placeholder; known are {explanation}, {monitor}, {state}"


@for_all(st.text("{}monitrsaexpl _.", max_size=30))
def test_a_subject_that_was_taken_can_be_filled(template: str) -> None:
    if given.when(creating(subject_template=template)).refusal is None:
        assert render_subject(template, monitor="Kettle", state="active", explanation="cheap")


@pytest.mark.parametrize("name", ["", " ", "x" * 121, "two\nlines", "nul\0"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    given.when(creating(name=name)).is_refused(InvalidInput, field="name")
    given(CREATED).when(revising(name=name)).is_refused(InvalidInput, field="name")


def test_an_action_is_revised_once() -> None:
    renamed = (
        given(CREATED)
        .when(revising("Tell me"))
        .then_and_only_once(ActionRevised(name="Tell me", config=PLAIN, revised_at=LATER))
    )
    assert renamed.state == Action(name="Tell me", config=PLAIN)
    config = EmailAction(subject_template="{monitor}!")
    given(CREATED).when(revising(subject_template="{monitor}!")).then_and_only_once(
        ActionRevised(name="Mail me", config=config, revised_at=LATER)
    )


def test_the_same_content_changes_nothing() -> None:
    given(CREATED).when(revising()).changes_nothing()


def test_an_action_is_deleted_once_and_keeps_its_name() -> None:
    after = given(CREATED).when(deleting).then_and_only_once(ActionDeleted(deleted_at=LATER))
    assert after.state == Action(name="Mail me", config=None)


@pytest.mark.parametrize("stream", [given, given(CREATED, DELETED)], ids=["never created", "deleted"])
def test_what_is_not_there_cannot_be_revised_and_deleting_it_changes_nothing(stream: Given[Action]) -> None:
    stream.when(revising()).is_refused(NotFound)
    stream.when(deleting).changes_nothing()


decisions = st.one_of(
    st.just(deleting),
    st.sampled_from(["Mail me", "Tell me", ""]).map(revising),
    st.sampled_from([(), (OWN,), ("eve@example.org",)]).map(lambda to: revising(to=to)),
)


@for_all(st.lists(decisions, max_size=10))
def test_no_sequence_of_commands_breaks_an_action(commands: list[Decide]) -> None:
    stream = given(CREATED)
    for decide in commands:
        outcome = stream.when(decide)
        if outcome.refusal is None:
            stream = outcome.then_and_only_once(*outcome.events)
        else:
            assert isinstance(outcome.refusal, RuleViolation)
    assert sum(isinstance(event, ActionDeleted) for event in stream.events) == (stream.state.config is None)
    assert all(address.lower() == OWN.lower() for address in (stream.state.config or PLAIN).to)
