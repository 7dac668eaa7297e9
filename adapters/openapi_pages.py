"""Serving the API's description: /api/v1/openapi.json for programs, /api/v1/docs and /api/v1/docs/errors for people."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.enums import OpenAPIMediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from adapters.api_docs import PAGE_POLICY, ApiDocs
from adapters.openapi_document import published
from adapters.struct_schemas import anonymous_operations, operation_id
from commands.http.bearer import ANONYMOUS_ROUTE
from commands.http.error_catalogue import ERROR_CATALOGUE

DOCS_PATH = "/api/v1/docs"

Document = Mapping[str, Any]


class Page(OpenAPIRenderPlugin):
    """A page that is made of the published document when it is first asked for, and kept."""

    def __init__(
        self, path: str, show: Callable[[Document], bytes], *, media_type: MediaType | OpenAPIMediaType
    ) -> None:
        super().__init__(path=path, media_type=media_type)
        self._show = show
        self._shown: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002  Litestar's form
        """The page."""
        if self._shown is None:
            self._shown = self._show(published_document(request.app))
        return self._shown


def openapi_config(*, title: str, version: str, description: str) -> OpenAPIConfig:
    """For `Litestar(openapi_config=...)`, beside `plugins=[DescribedStructs()]` and the route of `document_route`.

    The pages have a router of their own, because Litestar adds a catch-all with an HTML answer to it, and at least one
    page, because without any it would serve its own, which load scripts from elsewhere.
    """
    docs = ApiDocs(reference_path=DOCS_PATH, errors_path=f"{DOCS_PATH}/errors", document_path="/api/v1/openapi.json")
    html = MediaType.HTML
    return OpenAPIConfig(
        title=title,
        version=version,
        description=description,
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
        security=[{"bearer": []}],
        use_handler_docstrings=True,
        operation_id_creator=operation_id,
        openapi_router=Router(
            DOCS_PATH,
            route_handlers=[],
            include_in_schema=False,
            opt={ANONYMOUS_ROUTE: True},
            response_headers={"Content-Security-Policy": PAGE_POLICY},
        ),
        render_plugins=[
            Page("/", lambda document: docs.render_reference(document).encode(), media_type=html),
            Page("/errors", lambda _document: docs.render_errors(ERROR_CATALOGUE).encode(), media_type=html),
            Page("/openapi.json", msgspec.json.encode, media_type=OpenAPIMediaType.OPENAPI_JSON),
        ],
    )


def document_route() -> HTTPRouteHandler:
    """`GET /openapi.json`, for the router of the API."""

    @get("/openapi.json", opt={ANONYMOUS_ROUTE: True}, include_in_schema=False, sync_to_thread=False)
    def openapi_document(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        return Response(published_document(request.app), media_type=OpenAPIMediaType.OPENAPI_JSON)

    return openapi_document


def published_document(app: Litestar) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an application, as clients get it."""
    return published(app.openapi_schema.to_schema(), catalogue=ERROR_CATALOGUE, anonymous=anonymous_operations(app))
