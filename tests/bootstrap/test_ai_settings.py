"""Settings of models: everything that is wrong is told at the first start."""

import pytest

from bootstrap.settings import SettingsInvalid, read_settings


def told(**given: object) -> list[str]:
    """The mistakes of a configuration, each in its line."""
    with pytest.raises(SettingsInvalid) as found:
        read_settings(**given)
    return [line.strip() for line in str(found.value).splitlines()[1:]]


def test_missing_keys_are_told_beside_every_other_mistake() -> None:
    assert told(ai_providers="claude,openai", http_port="nine", ai_budget_day="-1") == [
        "VIGIL_AI_PROVIDERS: claude needs ANTHROPIC_API_KEY; openai needs OPENAI_API_KEY, or OPENAI_BASE_URL of your own",
        "VIGIL_AI_BUDGET_DAY: Input should be greater than or equal to 0",
        "VIGIL_HTTP_PORT: 'nine' is not a number",
    ]


def test_a_provider_that_is_unknown_keeps_no_missing_key_from_being_told() -> None:
    [only] = told(ai_providers="claude,gemini,claude")
    assert "'gemini' is not a provider of this version" in only
    assert "name one or more providers, each once" in only
    assert "claude needs ANTHROPIC_API_KEY" in only


def test_an_address_that_is_wrong_is_told_as_that_and_not_as_a_missing_key() -> None:
    assert told(ai_providers="openai,rules", openai_base_url="localhost:11434") == [
        "OPENAI_BASE_URL: the address of a server begins with http:// or https://"
    ]
    assert len(told(ai_providers="openai", openai_base_url="")) == 1


def test_an_empty_key_is_none() -> None:
    assert told(ai_providers="claude", anthropic_api_key="") == ["VIGIL_AI_PROVIDERS: claude needs ANTHROPIC_API_KEY"]


def test_who_has_a_key_or_a_server_of_their_own_is_set_up() -> None:
    settings = read_settings(ai_providers="openai,claude,rules", anthropic_api_key="k", openai_base_url="http://own/v1")
    assert list(settings.models) == ["openai", "claude"]
