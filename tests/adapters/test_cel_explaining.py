"""Conditions taken apart, with what they used put in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cel_condition import CelConditionLanguage
from adapters.cel_explaining import CelExplanations
from domain.evaluation import Verdict
from domain.explaining import Clause
from domain.fact import FactSpec, FactType, FactValue

FACTS = (
    FactSpec(name="price", type=FactType.NUMBER),
    FactSpec(name="stock", type=FactType.NUMBER),
    FactSpec(name="in_stock", type=FactType.BOOLEAN),
    FactSpec(name="title", type=FactType.TEXT),
    FactSpec(name="titles", type=FactType.LIST),
)
LANGUAGE = CelConditionLanguage()
EXPLAINS = CelExplanations(LANGUAGE)


def flat(clause: Clause) -> list[tuple[str, bool | None]]:
    return [(clause.with_values, clause.result), *(one for part in clause.clauses for one in flat(part))]


def test_each_part_shows_its_values_and_what_it_said() -> None:
    condition = 'price < 50 && (in_stock || changed(price)) && held_for("30m")'
    inputs = {"price": 49.5, "in_stock": None, "changed(price)": True, 'held_for("PT30M")': False}
    found = EXPLAINS.parts(condition, FACTS, inputs)
    assert found is not None
    assert flat(found) == [
        ("49.5 < 50 && (unknown || true) && false", False),
        ("49.5 < 50", True),
        ("(unknown || true)", True),
        ("unknown", None),
        ("true", True),
        ("false", False),
    ]
    assert [one.text for one in found.clauses] == ["price < 50", "(in_stock || changed(price))", 'held_for("30m")']
    assert (found.joined_by, found.clauses[0].joined_by, found.clauses[1].joined_by) == ("&&", None, "||")


@pytest.mark.parametrize(
    ("condition", "inputs", "shown"),
    [
        ("price < 50", {"price": 49.0}, "49 < 50"),
        ("price<50//cheap", {"price": 0.1}, "0.1<50"),
        ('title == "price"', {"title": 'a "b"'}, '"a \\"b\\"" == "price"'),
        ("title.contains('x')", {"title": "é" * 80}, f"\"{'é' * 59}…\".contains('x')"),
        ("size(titles) > 3", {"titles": list("abcd")}, 'size(["a", "b", "c", and 1 more]) > 3'),
        ("titles.exists(price, price == 'a')", {"titles": ["a"]}, "[\"a\"].exists(price, price == 'a')"),
        ("!has(last_notified( price ))", {"last_notified(price)": 40.0}, "!has(40)"),
        (
            'decreased_by(price, 0.1, "168h") ? in_stock : !in_stock',
            {'decreased_by(price, 0.1, "P7D")': None, "in_stock": True},
            "unknown ? true : !true",
        ),
    ],
)
def test_values_stand_where_they_were_used(condition: str, inputs: dict[str, FactValue | None], shown: str) -> None:
    found = EXPLAINS.parts(condition, FACTS, inputs)
    assert found is not None
    assert found.with_values == shown


def test_a_part_whose_facts_are_not_known_any_more_says_nothing_and_the_others_do() -> None:
    found = EXPLAINS.parts("price < 50 && gone > 3", FACTS[:1], {"price": 49.0, "gone": 4.0})
    assert found is not None
    assert flat(found) == [("49 < 50 && 4 > 3", None), ("49 < 50", True), ("4 > 3", None)]


def test_what_is_no_condition_is_not_explained() -> None:
    assert EXPLAINS.parts("price < ‽", FACTS, {}) is None


atoms = st.sampled_from(["price < 3", "stock > 2", "in_stock", "title == 'a'", "price + stock > 4"])
conditions = st.recursive(
    atoms,
    lambda inner: st.builds(lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from(["&&", "||"]), inner),
    max_leaves=6,
)


@given(
    condition=conditions,
    price=st.none() | st.integers(0, 5).map(float),
    stock=st.none() | st.integers(0, 5).map(float),
    in_stock=st.none() | st.booleans(),
)
def test_the_parts_of_a_condition_come_to_what_the_whole_did(
    condition: str, price: float | None, stock: float | None, *, in_stock: bool | None
) -> None:
    inputs: dict[str, FactValue | None] = {"price": price, "stock": stock, "in_stock": in_stock, "title": "a"}
    verdict = LANGUAGE.judge(condition, FACTS, inputs, {}).verdict
    found = EXPLAINS.parts(condition, FACTS, inputs)
    assert found is not None
    assert found.result is {Verdict.MET: True, Verdict.NOT_MET: False, Verdict.INCONCLUSIVE: None}[verdict]
    check(found)


def check(clause: Clause) -> None:
    """Three-valued logic, told from the parts alone."""
    results = [one.result for one in clause.clauses]
    if clause.joined_by == "&&":
        assert clause.result is (False if False in results else None if None in results else True)
    if clause.joined_by == "||":
        assert clause.result is (True if True in results else None if None in results else False)
    for one in clause.clauses:
        check(one)
