"""Which roles a route is for."""

from typing import Any

import structlog
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

log = structlog.get_logger()


def requires_role(*roles: str) -> Guard:
    """A Litestar guard: whoever has none of `roles` is answered 403 FORBIDDEN before anything is looked up.

    The refusal is logged (OWASP ASVS 5.0, 16.3.2), by the name the OWASP Logging Vocabulary has for it. Roles are those of
    the access token: one that is given or taken counts from the next token on.
    """
    needed = " or ".join(roles)

    # A plain function would be run in a thread for each request.
    async def check(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        caller = connection.user
        if caller.roles.isdisjoint(roles):
            log.warning("authz_fail", actor=str(caller.user_id), resource=connection.url.path, needs=needed)
            raise PermissionDeniedException(f"this needs the role {needed}; ask an administrator of the installation")

    return check
