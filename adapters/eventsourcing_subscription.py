"""The log as an iterator that waits: the `eventsourcing` library's subscription, by polling.

An append sends no NOTIFY, because that makes one writer of many (docs/decisions/0001-ordering-after-commit.md), so whoever waits has to look.
"""

from collections import deque
from collections.abc import Sequence
from threading import Event

from eventsourcing.persistence import ApplicationRecorder, Notification, Subscription

BATCH_NOTIFICATIONS_MAX = 500
REST_SECONDS_MIN, REST_SECONDS_MAX = 0.005, 0.1


class PollingSubscription(Subscription[ApplicationRecorder]):
    """Notifications after `gt`, one at a time, until it is stopped, which any thread may do."""

    def __init__(self, recorder: ApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt=gt, topics=topics)
        self._reached = gt or 0
        self._fetched: deque[Notification] = deque()
        self._stopped = Event()

    def stop(self) -> None:
        """End the iteration, also of a thread that is waiting in it."""
        super().stop()
        self._stopped.set()

    def __next__(self) -> Notification:
        """The next notification, waited for; what the database raises, this raises."""
        rest = REST_SECONDS_MIN
        while not self._stopped.is_set():
            if self._fetched:
                return self._fetched.popleft()
            self._fetch()
            if not self._fetched:
                self._stopped.wait(rest)
                rest = min(rest * 1.5, REST_SECONDS_MAX)
        raise StopIteration

    def _fetch(self) -> None:
        """The next batch up to the present head; a batch that is not full has everything up to there."""
        head = self._recorder.max_notification_id() or 0
        if head <= self._reached:
            return
        found = self._recorder.select_notifications(
            self._reached, BATCH_NOTIFICATIONS_MAX, stop=head, topics=self._topics, inclusive_of_start=False
        )
        self._fetched.extend(found)
        self._reached = found[-1].id if len(found) == BATCH_NOTIFICATIONS_MAX else head
