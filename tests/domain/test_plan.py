"""Which plans an evaluation can serve, and what a condition means for them."""

import pytest

from domain.condition import fires_by_default, kind_of
from domain.errors import InvalidInput
from domain.fact import FactSpec, FactType
from domain.plan import Fires, Kind, check_plan
from domain.source import HttpSource
from domain.temporal_function import TemporalCall
from tests.domain.plans import PLAN, plan


def facts(*names: str) -> tuple[FactSpec, ...]:
    return tuple(FactSpec(name=name, type=FactType.NUMBER) for name in names)


def sources(count: int) -> tuple[HttpSource, ...]:
    return (HttpSource(url="https://shop.example/"),) * count


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sources": sources(10)},
        {"facts": facts(*(f"f{i}" for i in range(20)))},
        {"facts": facts("a", "A", "price_2", "Temperatur", "x" * 64)},
        {"facts": (FactSpec(name="a", type=FactType.NUMBER, unit="x" * 40, description="x" * 500),)},
        {"confirmations": 10},
        {"min_confidence": 0.0},
        {"min_confidence": 1.0},
    ],
    ids=str,
)
def test_a_plan_within_the_bounds_is_taken(changes: dict[str, object]) -> None:
    check_plan(plan(**changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sources": ()}, "sources"),
        ({"sources": sources(11)}, "sources"),
        ({"facts": ()}, "facts"),
        ({"facts": facts(*(f"f{i}" for i in range(21)))}, "facts"),
        ({"facts": facts("price", "a b")}, "facts[1].name"),
        ({"facts": facts("2nd")}, "facts[0].name"),
        ({"facts": facts("_hidden")}, "facts[0].name"),
        ({"facts": facts("größe")}, "facts[0].name"),
        ({"facts": facts("")}, "facts[0].name"),
        ({"facts": facts("a", "b", "a")}, "facts[2].name"),
        ({"facts": facts("x" * 65)}, "facts[0].name"),
        ({"facts": (FactSpec(name="a", type=FactType.NUMBER, unit="x" * 41),)}, "facts[0].unit"),
        ({"facts": (FactSpec(name="a", type=FactType.NUMBER, description="x" * 501),)}, "facts[0].description"),
        ({"confirmations": 0}, "confirmations"),
        ({"confirmations": 11}, "confirmations"),
        ({"min_confidence": -0.01}, "min_confidence"),
        ({"min_confidence": 1.01}, "min_confidence"),
        ({"min_confidence": float("nan")}, "min_confidence"),
    ],
    ids=str,
)
def test_a_plan_outside_of_the_bounds_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_plan(plan(**changes))
    assert refused.value.field == field


def test_a_plan_knows_its_defaults() -> None:
    assert (PLAN.confirmations, PLAN.min_confidence, PLAN.fires) == (1, 0.5, Fires.ON_ENTRY)


@pytest.mark.parametrize(
    ("functions", "kind", "fires"),
    [
        ((), Kind.CURRENT_STATE, Fires.ON_ENTRY),
        (("previous",), Kind.HISTORICAL_CHANGE, Fires.ON_ENTRY),
        (("decreased_by", "ago"), Kind.HISTORICAL_CHANGE, Fires.ON_ENTRY),
        (("changed",), Kind.HISTORICAL_CHANGE, Fires.EACH_TIME),
        (("added",), Kind.HISTORICAL_CHANGE, Fires.EACH_TIME),
        (("removed",), Kind.HISTORICAL_CHANGE, Fires.EACH_TIME),
        (("previous", "changed"), Kind.HISTORICAL_CHANGE, Fires.EACH_TIME),
    ],
    ids=str,
)
def test_a_condition_that_tells_of_occurrences_fires_each_time(
    functions: tuple[str, ...], kind: Kind, fires: Fires
) -> None:
    calls = [TemporalCall(function, "price") for function in functions]
    assert kind_of(calls) is kind
    assert fires_by_default(calls) is fires
