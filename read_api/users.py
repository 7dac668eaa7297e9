"""GET of /api/v1/me: the person who asks."""

from datetime import datetime
from uuid import UUID

import msgspec
from litestar import get
from litestar.di import NamedDependency

from commands.http.form import AnyRequest, Envelope, answer
from domain.errors import NotFound
from read_api.database import Pool, fetch_row
from read_api.reading import REFUSALS, Reads

_FIND = """
select id, email, name, timezone, verified, array(select unnest(roles) order by 1) as roles, created_at
from users where id = %(id)s
"""


class MeShape(msgspec.Struct, frozen=True, kw_only=True):
    """A person as they see themselves; `timezone` is an IANA name."""

    id: UUID
    email: str
    name: str
    timezone: str
    verified: bool
    roles: tuple[str, ...]
    created_at: datetime


class UserViews:
    """People from the table users."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, user_id: UUID) -> MeShape | None:
        """A person."""
        row = await fetch_row(self._pool, _FIND, {"id": user_id})
        return None if row is None else msgspec.convert(row, MeShape)


class UserReads(Reads):
    """Reading one's own account."""

    path = "/me"
    tags = ("Identity",)

    @get("/", summary="Read your account", responses=REFUSALS)
    async def read_me(self, request: AnyRequest, user_views: NamedDependency[UserViews]) -> Envelope[MeShape]:
        """Who you are here."""
        shape = await user_views.find(request.user.user_id)
        if shape is None:
            raise NotFound
        return answer(request, shape)
