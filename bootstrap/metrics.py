"""Where Prometheus scrapes."""

import hmac
import ipaddress
from typing import Any

from litestar import Response, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import Guard

from adapters.prometheus_metrics import CONTENT_TYPE, PrometheusMetrics
from bootstrap.settings import Settings
from commands.http.bearer import ANONYMOUS_ROUTE


def metrics_route(metrics: PrometheusMetrics, settings: Settings) -> HTTPRouteHandler:
    """GET /metrics, beside the API: figures only, of nobody, and not for everybody all the same (ASVS 13.4.5)."""

    @get("/metrics", opt={ANONYMOUS_ROUTE: True}, include_in_schema=False, guards=[_who_may(settings)])
    async def scrape() -> Response[bytes]:
        return Response(await metrics.page(), headers={"content-type": CONTENT_TYPE})

    return scrape


def _who_may(settings: Settings) -> Guard:
    """With VIGIL_METRICS_TOKEN whoever sends it as a bearer token (RFC 6750); without it everybody on this machine, while
    nobody else can reach the API."""
    wanted = settings.metrics_token

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        if wanted is not None:
            scheme, _, given = connection.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), wanted.encode()):
                raise NotAuthorizedException("send the token of VIGIL_METRICS_TOKEN: Authorization: Bearer ...")
        elif not _only_here(settings.http_host):
            raise PermissionDeniedException(
                "the API listens to other machines: set VIGIL_METRICS_TOKEN to open /metrics"
            )

    return guard


def _only_here(host: str) -> bool:
    """Whether who listens at `host` is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
