"""The API's description over HTTP: open to everybody, from here alone, and the same for programs and people."""

import re
from collections.abc import Iterator
from itertools import count
from uuid import UUID

import pytest
from litestar import Controller, Litestar, Router, get, post
from litestar.middleware import DefineMiddleware
from litestar.params import JSONBody
from litestar.testing import TestClient

from adapters.api_docs import PAGE_POLICY
from adapters.openapi_pages import document_route, openapi_config, published_document
from adapters.struct_schemas import DescribedStructs
from commands.caller import Principal, TokenInvalid
from commands.http.bearer import ANONYMOUS_ROUTE, BearerAuthentication
from commands.http.error_catalogue import ERROR_CATALOGUE
from commands.http.failures import EXCEPTION_HANDLERS
from commands.http.form import Accepted, Envelope
from commands.http.request import RequestIds
from commands.identity_http import LoginBody


class NobodyIsKnown:
    """Fulfils `TokenReader`: no token is one of ours."""

    def read(self, token: str) -> Principal:
        raise TokenInvalid(token)


class Things(Controller):
    path = "/things"
    tags = ("Things",)

    @get("/", summary="Read")
    async def read_thing(self) -> None:
        """Needs a token."""

    @post("/", opt={ANONYMOUS_ROUTE: True}, summary="Enter", status_code=200)
    async def enter(self, data: JSONBody[LoginBody]) -> Envelope[Accepted]:
        """Needs none."""
        raise NotImplementedError


async def nobody_is_erased(_user_id: UUID) -> bool:
    return False


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    numbers = count(1)
    app = Litestar(
        [Router("/api/v1", route_handlers=[Things, document_route()])],
        middleware=[
            DefineMiddleware(RequestIds, new_id=lambda: UUID(int=next(numbers))),
            DefineMiddleware(BearerAuthentication, tokens=NobodyIsKnown(), is_erased=nobody_is_erased),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        plugins=[DescribedStructs()],
        openapi_config=openapi_config(title="Vigil", version="1.0.0", description="Keeps watch."),
    )
    with TestClient(app) as opened:
        yield opened


def test_the_pages_are_open_to_everybody_and_the_api_is_not(client: TestClient[Litestar]) -> None:
    for path in ("/api/v1/docs", "/api/v1/docs/errors", "/api/v1/openapi.json"):
        assert client.get(path).status_code == 200, path
    assert client.get("/api/v1/things").status_code == 401


def test_the_pages_are_html_that_may_load_nothing(client: TestClient[Litestar]) -> None:
    for path in ("/api/v1/docs", "/api/v1/docs/errors"):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.text.startswith("<!DOCTYPE html>")
    assert 'id="op-read_thing"' in client.get("/api/v1/docs").text
    assert "Keeps watch." in client.get("/api/v1/docs").text


def test_the_documentation_url_of_an_error_leads_to_its_entry(client: TestClient[Litestar]) -> None:
    url = client.get("/api/v1/things").json()["error"]["documentation_url"]
    page, _, anchor = url.partition("#")
    assert anchor == "UNAUTHENTICATED"
    assert f'id="{anchor}"' in client.get(page).text


def test_programs_get_the_published_document(client: TestClient[Litestar]) -> None:
    document = client.get("/api/v1/openapi.json").json()
    assert document == published_document(client.app)
    assert document == client.get("/api/v1/docs/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"bearer": []}]
    assert document["paths"]["/api/v1/things"]["post"]["security"] == []
    assert document["info"] == {"title": "Vigil", "version": "1.0.0", "description": "Keeps watch."}


def test_litestars_own_pages_which_load_from_elsewhere_are_not_there(client: TestClient[Litestar]) -> None:
    for path in ("/schema", "/schema/swagger", "/schema/redoc", "/api/v1/docs/swagger", "/api/v1/docs/elements"):
        answer = client.get(path)
        assert answer.status_code in {401, 404}, path
        assert not re.search(r"https?://(?!testserver)", answer.text), path


def test_what_is_not_there_is_still_refused_in_the_form_of_the_api(client: TestClient[Litestar]) -> None:
    """Litestar's catch-all for its pages reaches no further than the pages."""
    assert client.get("/api/v1/nothing").json()["error"]["code"] in {entry.code for entry in ERROR_CATALOGUE}
