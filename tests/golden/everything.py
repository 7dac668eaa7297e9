"""A history in which everything happens that can be stored, for the archive of recorded histories."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import msgspec

from benchmarks.history import History
from domain import action, budget, evaluation, monitor, notification, operation, signal, signal_source, trigger, user
from domain.action import EmailAction
from domain.evaluation import EvaluationCompleted, EvaluationRequested, Evidence, Verdict
from domain.log_entry import LogEntry
from domain.model_call import CallOutcome, ModelCalled, Task, TokenUsage
from domain.monitor import ConditionMetAgain, State
from domain.monitor_health import MonitorFailing, MonitorRecovered
from domain.notification import MailKind, Notification, NotificationRequested, NotificationSuppressed
from domain.signal_source import Terms
from domain.trigger import Frequency, TriggerCondition, TriggerFired, TriggerSuppressed


class Everything(History):
    """A history of the usual, with everything else once at its end."""

    def entries(self, least: int) -> Iterator[LogEntry]:
        """At least so many entries of the usual, and then the rest."""
        yield from super().entries(least)
        owner_id = next(iter(self._actions))
        yield from self._seldom_of_a_person(owner_id)
        monitor_id, (owner_id, _) = next(iter(self._monitors.items()))
        yield from self._seldom_of_a_monitor(monitor_id, owner_id)
        yield from self._signals(owner_id)
        yield from self._models(monitor_id, owner_id)
        yield from self._person()
        owner_id = list(self._actions)[-1]
        yield from self._stored(owner_id, owner_id, user.UserErased(erased_at=self._now))
        yield from self._operations()

    def _seldom_of_a_person(self, owner_id: UUID) -> Iterator[LogEntry]:
        email = f"{owner_id.hex[-12:]}@example.org"
        repeated = user.RegistrationRepeated(email=email, repeated_at=self._now)
        yield from self._stored(owner_id, owner_id, repeated, user.RoleGranted(role="auditor", granted_at=self._now))
        action_id = self.id()
        made = action.create(name="to me", config=EmailAction(to=(email,)), own_address=email, now=self._now)
        template = EmailAction(subject_template="{monitor}: {state}")
        revised = action.ActionRevised(name="to me too", config=template, revised_at=self._now)
        deleted = action.ActionDeleted(deleted_at=self._now)
        yield from self._stored(action_id, owner_id, *made, revised, deleted)
        for kind, token_id in ((MailKind.VERIFY_EMAIL, self.id()), (MailKind.ALREADY_REGISTERED, None)):
            request = NotificationRequested(
                kind=kind,
                to=email,
                subject="Vigil",
                token_id=token_id,
                expires_at=None if token_id is None else self._now + user.VERIFICATION_LIFETIME,
                requested_at=self._now,
            )
            refused = notification.record_failure(
                notification.evolve(Notification(), request),
                code=550,
                message="no such mailbox",
                permanent=True,
                retry_base=timedelta(seconds=30),
                now=self._now,
            )
            suppressed = NotificationSuppressed(reason="unverified", suppressed_at=self._now)
            yield from self._stored(self.id(), owner_id, request, *(refused if token_id else [suppressed]))

    def _seldom_of_a_monitor(self, monitor_id: UUID, owner_id: UUID) -> Iterator[LogEntry]:
        state, evaluation_id, trigger_id = self._monitors[monitor_id][1], self.id(), self.id()
        requested = EvaluationRequested(monitor_id=monitor_id, requested_at=self._now)
        done = EvaluationCompleted(
            monitor_id=monitor_id,
            plan_revision=state.plan_revision,
            due_at=self._now,
            verdict=Verdict.INCONCLUSIVE,
            state_before=State.ACTIVE,
            state_after=State.ACTIVE,
            condition=state.current_plan.condition,
            inputs={"price": None},
            streak=1,
            reason="price is missing",
            evidence=(Evidence(url="https://shop.example/", outcome="timeout", fetched_at=self._now),),
            provider="rules",
            duration_ms=3,
            started_at=self._now,
            completed_at=self._now,
        )
        yield from self._stored(evaluation_id, owner_id, requested, done)
        again = ConditionMetAgain(evaluation_id=evaluation_id, met_at=self._now)
        yield from self._stored(monitor_id, owner_id, again)
        yield from self._trigger(trigger_id, monitor_id, owner_id, evaluation_id)
        other = evaluation.evaluation_id(monitor_id, self._now)
        failed = self._failure(monitor_id, done.evidence[0])
        yield from self._stored(other, owner_id, failed)
        fails = MonitorFailing(
            failures=3,
            code=failed.code,
            message=failed.message,
            evaluation_id=other,
            since=self._now,
            failed_at=self._now,
        )
        recovers = MonitorRecovered(evaluation_id=evaluation_id, failed_since=self._now, recovered_at=self._now)
        yield from self._stored(monitor_id, owner_id, fails, recovers)
        for kind in (MailKind.FAILING, MailKind.RECOVERED):
            asked = NotificationRequested(
                kind=kind,
                to=f"{owner_id.hex[-12:]}@example.org",
                subject="Vigil",
                monitor_id=monitor_id,
                evaluation_id=other,
                not_before=self._now + timedelta(hours=1),
                requested_at=self._now,
            )
            yield from self._stored(self.id(), owner_id, asked)
        plan = msgspec.structs.replace(state.current_plan, confirmations=2)
        revised = monitor.revise(state, prompt="Tell me when it is cheap again", plan=plan, now=self._now)
        deleted = monitor.delete(state, now=self._now)
        restored = monitor.MonitorRestored(restored_at=self._now)
        yield from self._stored(monitor_id, owner_id, *revised, *deleted, restored, *deleted)

    def _trigger(self, trigger_id: UUID, monitor_id: UUID, owner_id: UUID, evaluation_id: UUID) -> Iterator[LogEntry]:
        made = trigger.create(
            monitor_id=monitor_id,
            action_id=self._actions[owner_id],
            name="each time",
            condition=TriggerCondition.BECOMES_ACTIVE,
            frequency=Frequency.EVERY_TIME,
            cooldown=timedelta(hours=1),
            now=self._now,
        )
        revised = trigger.TriggerRevised(
            action_id=self._actions[owner_id],
            name="once",
            condition=TriggerCondition.STATE_CHANGE,
            frequency=Frequency.ONCE,
            revised_at=self._now,
        )
        fired = TriggerFired(
            firing_id=self.id(), monitor_id=monitor_id, evaluation_id=evaluation_id, occasion=1, fired_at=self._now
        )
        held_back = TriggerSuppressed(
            firing_id=self.id(),
            monitor_id=monitor_id,
            evaluation_id=evaluation_id,
            occasion=2,
            reason="once_already_fired",
            suppressed_at=self._now,
        )
        disabled, enabled, deleted = (
            trigger.TriggerDisabled(disabled_at=self._now),
            trigger.TriggerEnabled(enabled_at=self._now),
            trigger.TriggerDeleted(deleted_at=self._now),
        )
        yield from self._stored(trigger_id, owner_id, *made, revised, fired, held_back, disabled, enabled, deleted)

    def _signals(self, owner_id: UUID) -> Iterator[LogEntry]:
        source_id = self.id()
        schema = '{"type":"object"}'
        made = signal_source.create(Terms("Greenhouse", schema, timedelta(days=3)), secret_id=self.id(), now=self._now)
        revised = signal_source.SignalSourceRevised(name="Glasshouse", revised_at=self._now)
        rotated = signal_source.SignalSecretRotated(
            secret_id=self.id(), overlap_ends_at=self._now + timedelta(days=1), rotated_at=self._now
        )
        received = signal.SignalReceived(
            source_id=source_id,
            webhook_id="msg_1",
            body='{"temperature": 31.5}',
            evaluations=(self.id(),),
            sent_at=self._now,
            received_at=self._now,
        )
        deleted = signal_source.SignalSourceDeleted(deleted_at=self._now)
        yield from self._stored(source_id, owner_id, *made, revised, rotated)
        yield from self._stored(signal.signal_id(source_id, "msg_1"), owner_id, received)
        yield from self._stored(source_id, owner_id, deleted)

    def _models(self, monitor_id: UUID, owner_id: UUID) -> Iterator[LogEntry]:
        """One call that was answered and one that was not, a day's money spent, and a call for nobody."""
        for outcome, whose, of in (
            (CallOutcome.OK, owner_id, monitor_id),
            (CallOutcome.TIMEOUT, owner_id, monitor_id),
            (CallOutcome.AUTH, operation.INSTALLATION, None),
        ):
            called = ModelCalled(
                task=Task.EXTRACT if of else Task.CHECK,
                provider="claude",
                model="claude-haiku-5-5",
                outcome=outcome,
                usage=TokenUsage(input_tokens=900, output_tokens=40, cache_read_tokens=600),
                cost_micros=1100,
                prices="genai-prices 0.2.3",
                is_estimated=outcome is CallOutcome.TIMEOUT,
                monitor_id=of,
                message=None if outcome is CallOutcome.OK else "no whole answer",
                started_at=self._now,
                duration_ms=700,
            )
            yield from self._stored(self.id(), whose, called)
        day = budget.day_of(self._now)
        spent = budget.BudgetExhausted(
            scope=owner_id, day=day, limit_micros=2000, spent_micros=2200, exhausted_at=self._now
        )
        yield from self._stored(budget.budget_stream(owner_id, day), owner_id, spent)

    def _operations(self) -> Iterator[LogEntry]:
        stream, owner = self.id(), operation.INSTALLATION
        acts: list[operation.OperationEvent] = [
            operation.ParkedRetried(projection="core", stream=stream, events=2, retried_at=self._now),
            operation.ParkedSkipped(
                projection="core", stream=stream, version=3, reason="made by a defect", skipped_at=self._now
            ),
            operation.ProjectionRebuilt(projection="core", projection_version=1, events=400, rebuilt_at=self._now),
            operation.ProjectionRolledBack(projection="core", rolled_back_at=self._now),
            operation.StoreRepaired(events=7, repaired_at=self._now),
            operation.KeysRotated(keys=3, wrapping_key_id="0a1b2c3d", rotated_at=self._now),
            operation.EvaluationsArchived(
                file="evaluations-1-400.ndjson.zst",
                sha256="0" * 64,
                first_position=1,
                last_position=400,
                events=100,
                archived_at=self._now,
            ),
            operation.EvaluationRetried(evaluation_id=stream, retried_at=self._now),
            operation.EvaluationDropped(evaluation_id=stream, reason="made by a defect", dropped_at=self._now),
        ]
        for act in acts:
            yield from self._stored(self.id(), owner, act)
