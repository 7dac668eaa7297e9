"""Where Prometheus scrapes."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from adapters.prometheus_metrics import CONTENT_TYPE, PrometheusMetrics
from commands.http.caller import ANONYMOUS_ROUTE


def metrics_route(metrics: PrometheusMetrics) -> HTTPRouteHandler:
    """GET /metrics, beside the API and without a token, like the probes: only figures are told, of nobody."""

    @get("/metrics", opt={ANONYMOUS_ROUTE: True}, include_in_schema=False)
    async def scrape() -> Response[bytes]:
        return Response(await metrics.page(), headers={"content-type": CONTENT_TYPE})

    return scrape
