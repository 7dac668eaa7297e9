"""JSON Schemas that strangers' signals are checked against: what a check may cost, and what is said of what is too large."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.json_schemas import STEPS_MAX, SUBSCHEMAS_MAX, TOLD_STEPS_MAX, JsonSchemas
from domain.errors import InvalidInput

ALTERNATIVES = 300


def issues(schema: object, body: Any) -> list[str]:  # noqa: ANN401  JSON
    return [mistake.detail.issue for mistake in JsonSchemas().mistakes(json.dumps(schema), body)]


def test_a_signal_with_many_mistakes_in_many_alternatives_is_refused_without_telling_each() -> None:
    schema = {"items": {"anyOf": [{"type": "string"}] * ALTERNATIVES}}
    assert issues(schema, [1] * 10) == ["anyOf"] * 10
    assert issues(schema, [1] * (TOLD_STEPS_MAX // ALTERNATIVES)) == ["schema"]
    assert issues(schema, ["good"] * (TOLD_STEPS_MAX // ALTERNATIVES)) == []


def test_a_signal_that_is_too_large_for_its_schema_is_not_checked() -> None:
    schema = {"allOf": [{"contains": {"const": 5}}] * ALTERNATIVES}
    assert issues(schema, [5]) == []
    assert issues(schema, [1] * (STEPS_MAX // ALTERNATIVES)) == ["size"]
    assert issues({"allOf": [{"pattern": "a$"}] * ALTERNATIVES}, "a" * 64_000) == ["size"]


def test_the_largest_signal_is_checked_against_a_schema_of_usual_size() -> None:
    reading = {"type": "object", "properties": {name: {"type": "number"} for name in "abcd"}, "required": ["a"]}
    readings = [dict.fromkeys("abcd", 1)] * 2_000
    assert issues({"type": "array", "items": reading}, readings) == []
    assert issues({"type": "array", "items": reading}, [*readings, {}]) == ["schema"]


@pytest.mark.parametrize("depth", [300, 600, 900])
def test_a_schema_that_is_nested_too_deeply_is_refused(depth: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        JsonSchemas().check('{"not":' * depth + "{}" + "}" * depth)
    assert refused.value.field == "schema"


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(max_size=8), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3), max_size=3
    )
)
def test_a_known_place_holds_no_name_but_those_of_the_schema(body: dict[str, Any]) -> None:
    inner = {"properties": {"a/b~": {"type": "number"}}, "additionalProperties": {"type": "null"}}
    schema = {"additionalProperties": inner, "required": ["when"]}
    mistakes = JsonSchemas().mistakes(json.dumps(schema), body)
    assert {step for mistake in mistakes for step in mistake.known_place.split("/")} <= {"", "*", "a~1b~0", "when"}


def test_a_known_place_leads_to_where_it_is() -> None:
    schema = {"properties": {"a/b": {"items": {"additionalProperties": {"type": "number"}}}}}
    for name in ("mary", "7", "007", "+4915112345678"):
        (mistake,) = JsonSchemas().mistakes(json.dumps(schema), {"a/b": [{name: "x"}]})
        assert (mistake.known_place, mistake.detail.field) == ("/a~1b/0/*", f"a/b[0].{name}")


def test_references_to_something_long_cost_no_more_than_references() -> None:
    long = {"enum": ["x"] * 5_000}
    with pytest.raises(InvalidInput, match="at most"):
        JsonSchemas().check(json.dumps({"$defs": {"a": long}, "allOf": [{"$ref": "#/$defs/a"}] * SUBSCHEMAS_MAX}))
    JsonSchemas().check(json.dumps(long))
