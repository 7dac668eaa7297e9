"""The ASGI application: every route, on one page."""

from collections.abc import Callable

import psycopg
import psycopg_pool
from litestar import Litestar, Router, get
from litestar.config.compression import CompressionConfig
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.response import Redirect
from litestar.types import Receive, Scope, Send

from adapters.cel_explaining import CelExplanations
from adapters.openapi_pages import DOCS_PATH, document_route, openapi_config
from adapters.struct_schemas import DescribedStructs
from bootstrap.metrics import metrics_route
from bootstrap.now_and_new import new_id, program_version, utc_now
from bootstrap.parts import Parts
from commands.actions_http import ActionWrites
from commands.backtest_http import BacktestRoute
from commands.http.bearer import ANONYMOUS_ROUTE, BearerAuthentication
from commands.http.failures import EXCEPTION_HANDLERS, on_dependency_down
from commands.http.form import API_VERSION
from commands.http.request import BodyKeepingRequest, RequestIds
from commands.identity_http import AccountWrites, IdentityWrites
from commands.monitor_copies_http import MonitorCopiesWrites
from commands.monitor_trials_http import MonitorTrials
from commands.monitors_http import MonitorWrites
from commands.signal_shapes import SignalAddresses
from commands.signals_http import SignalIntake, SignalSourceWrites
from commands.triggers_http import TriggerWrites
from read_api.actions import ActionReads, ActionViews
from read_api.audit import AuditReads
from read_api.audit_log import AuditLog
from read_api.evaluations import EvaluationReads, EvaluationViews
from read_api.explanations import Explanations
from read_api.facts import FactReads, FactViews
from read_api.freshness import ProjectionWait, fresh_reads
from read_api.health import Health, HealthChecks
from read_api.model_usage import ModelUsageReads, ModelUsageViews
from read_api.monitor_exports import MonitorExportReads, MonitorExports
from read_api.monitor_stream import UNCOMPRESSED, MonitorStream
from read_api.monitors import MonitorReads, MonitorViews
from read_api.notifications import NotificationReads, NotificationViews
from read_api.past_monitors import PastMonitors
from read_api.signals import SignalReads, SignalSourceViews
from read_api.status import Statuses, StatusReads
from read_api.triggers import TriggerReads, TriggerViews
from read_api.users import UserReads, UserViews

BODY_BYTES_MAX = 256 * 1024


class Application(Litestar):
    """Litestar inside the middleware that every answer must pass, also those to paths that lead nowhere, which Litestar
    answers before its own middleware."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Handle one connection."""
        await RequestIds(super().__call__, new_id)(scope, receive, send)


def make_application(parts: Parts) -> Application:
    """The application over these parts."""
    identity = parts.identity()
    signal_addresses = SignalAddresses(parts.settings.public_url)
    provided = {
        "identity": identity,
        "monitors": parts.monitors(),
        "previews": parts.previews(),
        "backtests": parts.backtests(),
        "actions": parts.actions(identity),
        "triggers": parts.triggers(),
        "signal_sources": parts.signal_sources(),
        "signal_receiver": parts.signal_receiver(),
        "signal_addresses": signal_addresses,
        "signal_source_views": SignalSourceViews(parts.pool, signal_addresses),
        "projected": ProjectionWait(parts.pool),
        "monitor_views": MonitorViews(parts.pool, parts.ai.forecasting),
        "forecasting": parts.ai.forecasting,
        "live_monitors": parts.live_monitors,
        "monitor_exports": MonitorExports(parts.pool),
        "past_monitors": PastMonitors(parts.pool, parts.store),
        "evaluation_views": EvaluationViews(parts.pool),
        "explanations": Explanations(parts.pool, CelExplanations(parts.conditions)),
        "fact_views": FactViews(parts.pool),
        "action_views": ActionViews(parts.pool),
        "trigger_views": TriggerViews(parts.pool),
        "model_usage_views": ModelUsageViews(parts.pool, parts.ai.budgets, now=utc_now),
        "notification_views": NotificationViews(parts.pool),
        "user_views": UserViews(parts.pool),
        "audit_log": AuditLog(parts.pool, parts.sealed_store),
        "log_verifier": parts.log_verifier(),
        "statuses": Statuses(
            parts.pool,
            parts.ai.breakers,
            providers=parts.settings.ai_providers,
            models=parts.settings.models,
            budget_micros=parts.ai.budgets.installation_day_micros,
            version=program_version(),
            now=utc_now,
        ),
        "health": HealthChecks(parts.pool, parts.log_states, {"redis": parts.redis.ping}, started_at=utc_now()),
    }
    writes = [
        IdentityWrites,
        AccountWrites,
        MonitorWrites,
        MonitorTrials,
        BacktestRoute,
        MonitorCopiesWrites,
        ActionWrites,
        TriggerWrites,
        SignalSourceWrites,
        SignalIntake,
    ]
    reads = [
        MonitorReads,
        MonitorExportReads,
        MonitorStream,
        EvaluationReads,
        FactReads,
        ActionReads,
        TriggerReads,
        SignalReads,
        NotificationReads,
        UserReads,
        ModelUsageReads,
        AuditReads,
        StatusReads,
    ]
    return Application(
        route_handlers=[
            Router("/api/v1", route_handlers=[*writes, *reads, document_route()], guards=[fresh_reads(parts.pool)]),
            Health,
            metrics_route(parts.metrics, parts.settings),
            front_door,
        ],
        dependencies={name: Provide(_always(part), sync_to_thread=False) for name, part in provided.items()},
        middleware=[DefineMiddleware(BearerAuthentication, tokens=parts.tokens, is_erased=parts.store.is_erased)],
        exception_handlers={
            **EXCEPTION_HANDLERS,
            psycopg.OperationalError: on_dependency_down,
            psycopg_pool.PoolTimeout: on_dependency_down,
        },
        request_class=BodyKeepingRequest,
        request_max_body_size=BODY_BYTES_MAX,
        compression_config=CompressionConfig(backend="gzip", exclude_opt_key=UNCOMPRESSED),
        plugins=[DescribedStructs()],
        openapi_config=openapi_config(
            title="Vigil",
            version=API_VERSION,
            description="Says in an e-mail when what you asked it to watch has changed, and can prove why.",
        ),
        logging_config=None,  # bootstrap.logs has set logging up; this would take it over
        debug=False,
    )


@get("/", opt={ANONYMOUS_ROUTE: True}, include_in_schema=False, sync_to_thread=False)
def front_door() -> Redirect:
    """Whoever opens the bare address wants to know what is here."""
    return Redirect(DOCS_PATH)


def _always(part: object) -> Callable[[], object]:
    def provide() -> object:
        return part

    return provide
