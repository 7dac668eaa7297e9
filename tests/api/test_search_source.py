"""A search of the web as a source: refused as long as nobody can search."""

import pytest

from tests.api.people import SHOP, Installation, wish


@pytest.mark.parametrize("path", ["/monitors", "/monitors/preview"])
async def test_a_monitor_of_a_search_is_refused_with_what_would_help(installation: Installation, path: str) -> None:
    person = await installation.person()
    before = await installation.stored(person.user_id)
    sources = [{"type": "http", "url": SHOP}, {"type": "search", "query": "desk lamps under 50 EUR"}]
    error = await person.is_refused("POST", path, wish(sources=sources), status=400)
    assert error["code"] == "SEARCH_NOT_AVAILABLE"
    assert error["details"][0]["field"] == "sources[1].type"
    assert "Name pages or feeds instead" in error["message"]
    assert error["documentation_url"].endswith("#SEARCH_NOT_AVAILABLE")
    assert await installation.stored(person.user_id) == before
