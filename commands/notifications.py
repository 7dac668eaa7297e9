"""The notification as it is loaded. Nobody commands one: workers write down that it is wanted and what became of it."""

from commands.streams import Aggregate
from domain import notification
from domain.notification import Notification

NOTIFICATION = Aggregate(initial=Notification(), evolve=notification.evolve)
