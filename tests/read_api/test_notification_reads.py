"""GET /api/v1/notifications."""

from collections.abc import Callable
from uuid import UUID

from domain.notification import DeliveryDeferred, NotificationSent, NotificationSuppressed
from read_api.notifications import _ORDERS
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes

As = Callable[[UUID], Reader]


async def test_a_notification_is_read_with_every_attempt_to_deliver_it(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    notification = await world.notification(ada, monitor_id=monitor)
    await world.append(
        ada,
        notification,
        DeliveryDeferred(code=None, message="no connection", failed_at=minutes(1), retry_at=minutes(2)),
        NotificationSent(message_id="<a@b>", code=250, message="queued", sent_at=minutes(2)),
    )
    await world.project()
    shape = await reader(ada).data(f"/notifications/{notification}")
    assert shape == {
        "id": str(notification),
        "kind": "alert",
        "monitor_id": str(monitor),
        "trigger_id": None,
        "action_id": None,
        "evaluation_id": None,
        "channel": "email",
        "to": "ada@example.org",
        "subject": "Price is active",
        "status": "sent",
        "attempts": [
            {"at": "2026-01-01T00:01:00Z", "outcome": "deferred", "code": None, "message": "no connection"},
            {"at": "2026-01-01T00:02:00Z", "outcome": "sent", "code": 250, "message": "queued"},
        ],
        "next_attempt_at": None,
        "created_at": "2026-01-01T00:00:00Z",
        "sent_at": "2026-01-01T00:02:00Z",
    }
    assert await reader(ada).data("/notifications") == [shape]


async def test_notifications_are_filtered_by_status_and_monitor(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    waiting = str(await world.notification(ada, monitor_id=monitor, at=minutes(1)))
    stopped = await world.notification(ada, at=minutes(2))
    await world.append(ada, stopped, NotificationSuppressed(reason="unverified address", suppressed_at=minutes(2)))
    await world.project()
    ask = reader(ada).ids
    assert await ask("/notifications") == [str(stopped), waiting]
    assert await ask("/notifications", status="suppressed") == [str(stopped)]
    assert await ask("/notifications", monitor_id=str(monitor)) == [waiting]
    assert await ask("/notifications", status="suppressed", monitor_id=str(monitor)) == []
    assert await ask("/notifications", status="bounced") == []
    for order in _ORDERS:
        assert set(await ask("/notifications", sort=order)) == {str(stopped), waiting}
    assert await reader(ada).refused_field("/notifications", status="lost") == "status"
    reasons = [a["message"] for a in (await reader(ada).data(f"/notifications/{stopped}"))["attempts"]]
    assert reasons == ["unverified address"]
