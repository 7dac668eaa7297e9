"""Conditions: what compiles, what is refused and how, and what they say about values."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.cel_condition import CHARS_MAX, LOOPED_CHARS_MAX, CelConditionLanguage
from domain.condition import Judgement, fires_by_default, kind_of
from domain.errors import ConditionInvalid
from domain.evaluation import Verdict
from domain.fact import FactSpec, FactType, FactValue
from domain.plan import Fires, Kind
from domain.temporal_function import TemporalCall

FACTS = (
    FactSpec(name="price", type=FactType.NUMBER),
    FactSpec(name="stock", type=FactType.NUMBER),
    FactSpec(name="title", type=FactType.TEXT),
    FactSpec(name="titles", type=FactType.LIST),
    FactSpec(name="in_stock", type=FactType.BOOLEAN),
    FactSpec(name="updated", type=FactType.TIMESTAMP),
    FactSpec(name="package", type=FactType.TEXT),
    FactSpec(name="size", type=FactType.NUMBER),
)
VALUES: dict[str, FactValue | None] = {
    "price": 40.0,
    "stock": 3.0,
    "title": "Grüße, World",
    "titles": ["alpha", "beta"],
    "in_stock": True,
    "updated": "2026-01-01T05:30:00Z",
    "package": "small",
    "size": 2.0,
}
LANGUAGE = CelConditionLanguage()
Temporal = dict[TemporalCall, FactValue | None]


def judge(condition: str, temporal: Temporal | None = None, **values: FactValue | None) -> Judgement:
    return LANGUAGE.judge(condition, FACTS, VALUES | values, temporal or {})


def verdict(condition: str, temporal: Temporal | None = None, **values: FactValue | None) -> Verdict:
    return judge(condition, temporal, **values).verdict


def refusal(condition: str) -> ConditionInvalid | None:
    """Why the condition does not compile."""
    try:
        LANGUAGE.check(condition, FACTS)
    except ConditionInvalid as error:
        return error
    return None


@pytest.mark.parametrize(
    "condition",
    [
        "price < 50",
        "price < 50.0 && in_stock",
        "price == 40 && price != 41 && price >= 40 && 39 < price",
        "price > -5 && -price < 0 && price - 1 == 39",
        "price in [40, 50]",
        "price != 0x10",
        "price < 1e3 && price > .5",
        "price < 99999999999999999999",
        "price * 2 + 1 == 81 && price / 8 == 5",
        "1 + price + 1 == 42",
        "price / (price - 39) == 40",
        "-price / -size == 20",
        "size(titles) == 2 && size(titles) > 1 && titles.size() == 2 && size(title) == 12",
        "titles.filter(t, t.startsWith('a')).size() == 1",
        "size(titles) / size(titles) == 1",
        'titles[0] == "alpha" && titles[size(titles) - 1] == "beta" && titles[1 - 1].size() == 5',
        "[1, 2, 3][1] == 2 && {'a': price}['a'] == 40",
        '"beta" in titles && !("gamma" in titles)',
        'titles.exists(t, t.contains("lph")) && titles.all(t, size(t) > 3)',
        "titles.map(t, size(t)) == [5, 4]",
        'title.matches("(?i)WORLD$") && title.contains("Grüße") && title != "5"',
        "title == 'Grüße, World' && title == r'Grüße, World' && title == '''Grüße, World'''",
        'updated > timestamp("2025-12-31T23:00:00Z") + duration("1h")',
        "updated.getHours() == 5 && updated.getFullYear() > 2025",
        "price < 50 // the usual price\n  && in_stock",
        "package == 'small'",
        "size == 2 && size(titles) == size",
        "int(price) == 40 && double('3') < 4",
        "(in_stock ? price : stock) > 30",
        "price < 50 || stock / 0 > 1",
        "titles.exists(price, price == 'alpha')",
    ],
)
def test_conditions_are_written_as_people_write_numbers(condition: str) -> None:
    assert verdict(condition) is Verdict.MET
    assert verdict(f"!({condition}\n)") is Verdict.NOT_MET
    assert LANGUAGE.check(condition, FACTS) == ()


@pytest.mark.parametrize(
    ("condition", "under", "says"),
    [
        ("prise < 50", "prise", "Did you mean price?"),
        ("price < 50 && (title == word)", "word", 'A text stands in quotes: "word"'),
        ('price < "a"', "<", "a number cannot be compared with a text by <"),
        ("title < 3", "<", "a text cannot be compared with a number"),
        ("'ä' == title && price < q", "q", "no fact named q"),
        ("price == null", "==", "inconclusive by itself"),
        ("price = 50", "=", "write == with two signs"),
        ("price < 50 and in_stock", "and", "Write && instead"),
        ("price < 50 OR in_stock", "OR", "Write || instead"),
        ("not in_stock", "not", "Write ! instead"),
        ("price <> 50", "> 50", "does not belong here"),
        ("price ≤ 50", "≤", "Write <="),
        ("price < 50%", "%", "For 10 % write 0.1"),
        ("price < €50", "€", "the unit belongs to the fact"),
        ("price < 50,000", ",000", "does not belong here"),
        ("title == \u201cx\u201d", "\u201c", "straight quotes"),
        ('title == "x', '"x', "close its quotes"),
        ('title == """x', '"x', "close its quotes"),
        ("(price < 50", "(", "add )"),
        ("price < 50)", ")", "never opened"),
        ("price < (50]", "]", "never opened"),
        ("title.foo()", "foo", "no function named foo"),
        ("chnged(price)", "chnged", "Did you mean changed?"),
        ("title.contains(price)", "contains", "contains cannot take a text and a number"),
        ("price.x > 3", ".x", "no parts"),
        ("!price", "!", "! takes a comparison"),
        ("price && in_stock", "&&", "&& takes a comparison"),
        ("in_stock ? price : title", "?", "of one type"),
        ("price", "price", "this one gives a number"),
        ("titles", "titles", "this one gives a list"),
        ("title + title == 'a'", "title ==", "texts and lists cannot be joined"),
        ("titles + titles == titles", "titles ==", "a list cannot stand here"),
        ("price / title > 1", "title", "Only numbers can be divided by"),
        ('title.matches("(a")', '"(a"', "regular expression"),
        ('duration("1x") > duration("1h")', '"1x"', "length of time"),
        ('updated > timestamp("today")', '"today"', "not a time"),
        ("now() > updated", "now", "cannot read the clock"),
        ("dyn(price) == 40", "dyn", "switch the type check off"),
        ("__fact_price < 50", "__fact_price", "reserved"),
        ("price < 50 // cheap\n && prise > 3", "prise", "Did you mean price?"),
        ("changed(prise) && price < 50", "prise", "no fact named prise"),
        ("changed() && price < 50", "changed", "starts with the name of a fact"),
        ("changed(price + 1)", "changed", "starts with the name of a fact"),
        ("added(price)", "price", "added takes a list, and price is a number"),
        ('decreased_by(title, 0.1, "P7D")', "title", "decreased_by takes a number"),
        ('decreased_by(price, 10, "P7D")', '"P7D"', "for 10 % write 0.1"),
        ("decreased_by(price, 0.1)", "0.1", 'Write decreased_by(fact, 0.1, "P7D")'),
        ("decreased_by(price, 0.1, 7)", "7)", "is written decreased_by"),
        ("decreased_by(price, -0.1, 'P7D')", "-0.1", "neither a plain number"),
        ("decreased_by(price, 0.1, max(1, 2))", "max", "neither a plain number"),
        ("decreased_by(price,, 'P7D')", "decreased_by", "starts with the name of a fact"),
        ('min_over(price, "P1M") < 3', '"P1M"', "months and years differ"),
        ('held_for("P1D") || price < 3', "held_for", "how long all the rest has held"),
        ('price < 3 && !held_for("P1D")', "held_for", "Join it with &&"),
        ('price < 3 && (held_for("P1D") || in_stock)', "held_for", "how long all the rest"),
        ('in_stock ? held_for("P1D") && in_stock : in_stock', "held_for", "how long all the rest"),
        ('[held_for("P1D")][0] && in_stock', "held_for", "how long all the rest"),
        ('price < 3 && has(held_for("P1D"))', "held_for", "how long all the rest"),
        ('held_for("P1D")', "held_for", "nothing beside held_for"),
        ('held_for("P1D") && (held_for("PT2H"))', "held_for", "nothing beside held_for"),
        ("held_for(price) && price < 3", "price", 'Write held_for("P7D")'),
        ("held_for() && price < 3", "held_for", 'Write held_for("P7D")'),
        ('held_for("P1M") && price < 3', "held_for", "months and years differ"),
        ("last_notified() > price", "last_notified", "starts with the name of a fact"),
        ("has(last_notified(prise))", "prise", "no fact named prise"),
        ("abs(title) > 3", "abs", "abs cannot take a text"),
        ("in_stock && changed(price) == 5", "== 5", "a yes-or-no value cannot be compared with a number"),
    ],
)
def test_a_mistake_is_shown_in_the_condition_as_it_was_written(condition: str, under: str, says: str) -> None:
    with pytest.raises(ConditionInvalid) as caught:
        LANGUAGE.check(condition, FACTS)
    message = caught.value.message
    _, shown, caret, *_ = message.split("\n")
    assert caught.value.field == "condition"
    assert shown == f"  {condition}".replace("\n", " ")
    assert shown[caret.index("^") :].startswith(under)
    assert says in message
    assert "__" not in message or "__" in condition


def test_the_caret_stands_under_its_place_also_behind_wide_characters() -> None:
    with pytest.raises(ConditionInvalid) as caught:
        LANGUAGE.check('title == "\u65e5\u672c" && prise < 3', FACTS)
    _, shown, caret, *_ = caught.value.message.split("\n")
    assert shown[caret.index("^") :] == "prise < 3"
    assert caret.count("\u3000") == 2, "two characters that take two columns each"


def test_a_name_that_is_no_fact_is_told_alike_within_a_function_and_beside_it() -> None:
    for condition in ("prise < 3", "changed(prise)", "has(previous(prise))"):
        with pytest.raises(ConditionInvalid, match=r"Did you mean price\? The facts are: price \(number\)"):
            LANGUAGE.check(condition, FACTS)


def test_who_names_a_function_that_is_none_reads_which_there_are() -> None:
    with pytest.raises(ConditionInvalid, match=r"The functions are: abs, added, .*record_low"):
        LANGUAGE.check("zzz(price) > 3", FACTS)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("// nothing", "only a comment"),
        ("price <", "ends too early"),
        ("price < 50 &&", "ends too early"),
        ("in_stock || " * 200 + "in_stock", "the longest allowed has 2000"),
        ("(" * 40 + "in_stock" + ")" * 40, "nest deeper than 16"),
        ("[" * 40 + "]" * 40 + " == []", "nest deeper than 16"),
        ("price" + " + 1" * 100 + " > 3", "too deep or too much work"),
        ("titles.map(a, a).map(b, b) == titles", "one map"),
        (" && ".join(["titles.all(t, t != '')"] * 5), "at most 4"),
    ],
)
def test_what_is_empty_or_out_of_bounds_is_refused(condition: str, says: str) -> None:
    with pytest.raises(ConditionInvalid, match=says):
        LANGUAGE.check(condition, FACTS)


def test_temporal_calls_are_found_once_each_whatever_their_spelling() -> None:
    week = timedelta(days=7)
    condition = """changed(price) || changed( price ) || decreased_by(price, 0.1, "P7D")
        || decreased_by(price, 0.1, duration("168h")) || titles.exists(t, t in added(titles))"""
    assert LANGUAGE.check(condition, FACTS) == (
        TemporalCall("changed", "price"),
        TemporalCall("decreased_by", "price", (0.1, week)),
        TemporalCall("added", "titles"),
    )


@pytest.mark.parametrize(
    "condition",
    [
        'price < 50 && held_for("PT30M")',
        'held_for("PT30M") && price < 50',
        '(price < 50 || in_stock) && held_for("30m") && stock > 1',
        '((price < 50 && in_stock) && (held_for("PT30M")))',
        'titles.exists(t, t == "beta" || t == "b") && held_for("PT30M")',
        'price < 50 && held_for("PT30M") && has(previous(price)) == false',
    ],
)
@pytest.mark.parametrize(("held", "expected"), [(True, Verdict.MET), (False, Verdict.NOT_MET)])
def test_held_for_stands_beside_the_rest(condition: str, *, held: bool, expected: Verdict) -> None:
    call = TemporalCall("held_for", "", (timedelta(minutes=30),))
    assert call in LANGUAGE.check(condition, FACTS)
    judged = judge(condition, {call: held})
    assert judged.verdict is expected
    assert judged.inputs['held_for("PT30M")'] is held


@pytest.mark.parametrize(
    ("told", "price", "expected"),
    [
        (None, 40.0, Verdict.MET),
        (40.0, 41.9, Verdict.NOT_MET),
        (40.0, 42.0, Verdict.MET),
        (40.0, 38.0, Verdict.MET),
        (0.0, 40.0, Verdict.INCONCLUSIVE),
    ],
)
def test_has_tells_whether_a_function_has_a_value(told: float | None, price: float, expected: Verdict) -> None:
    condition = "!has(last_notified(price)) || abs(price - last_notified(price)) / last_notified(price) >= 0.05"
    judged = judge(condition, {TemporalCall("last_notified", "price"): told}, price=price)
    assert judged.verdict is expected
    assert judged.inputs == {"price": price, "last_notified(price)": told}


def test_a_temporal_name_in_a_text_is_text() -> None:
    assert LANGUAGE.check('title.contains("changed(price)")', FACTS) == ()


def test_temporal_results_take_part_with_their_types() -> None:
    day = timedelta(days=1)
    temporal: Temporal = {
        TemporalCall("previous", "updated"): "2026-01-01T04:00:00Z",
        TemporalCall("min_over", "price", (day,)): 40.0,
        TemporalCall("changes", "price", (day,)): 3.0,
        TemporalCall("changed", "title"): True,
        TemporalCall("removed", "titles"): ["gamma"],
    }
    condition = (
        'updated - previous(updated) == duration("90m") && price <= min_over(price, "P1D") * 1.1'
        ' && changes(price, "24h") > 2 && changed(title) && removed(titles) == ["gamma"]'
    )
    judged = judge(condition, temporal)
    assert judged.verdict is Verdict.MET
    assert judged.inputs == {
        "updated": "2026-01-01T05:30:00Z",
        "price": 40.0,
        "title": "Grüße, World",
        "titles": ["alpha", "beta"],
        "previous(updated)": "2026-01-01T04:00:00Z",
        'min_over(price, "P1D")': 40.0,
        'changes(price, "P1D")': 3.0,
        "changed(title)": True,
        "removed(titles)": ["gamma"],
    }


@pytest.mark.parametrize(
    ("condition", "added", "expected"),
    [
        ("added(titles)", ["x"], Verdict.MET),
        ("added(titles)", [], Verdict.NOT_MET),
        ("!added(titles)", [], Verdict.MET),
        ("added(titles) && price < 50", ["x"], Verdict.MET),
        ("price > 50 || (added(titles) && in_stock)", ["x"], Verdict.MET),
        ("added(titles) ? price < 50 : in_stock", ["x"], Verdict.MET),
        ("size(added(titles)) == 1", ["x"], Verdict.MET),
        ('"x" in added(titles) && in_stock', ["x"], Verdict.MET),
        ('added(titles) == ["x"] && in_stock', ["x"], Verdict.MET),
        ('added(titles).exists(t, t == "x")', ["x"], Verdict.MET),
    ],
)
def test_a_list_of_new_items_alone_asks_whether_there_are_any(
    condition: str, added: list[str], expected: Verdict
) -> None:
    assert verdict(condition, {TemporalCall("added", "titles"): added}) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("changed(price)", Verdict.NOT_MET),
        ("!changed(price)", Verdict.NOT_MET),
        ("changed(price) && in_stock", Verdict.NOT_MET),
        ("changed(price) || price < 50", Verdict.MET),
        ("price < 50 || changed(price)", Verdict.MET),
        ("changed(price) || price > 50", Verdict.NOT_MET),
        ("previous(price) > price", Verdict.NOT_MET),
        ('price < avg_over(price, "P7D") * 0.9', Verdict.NOT_MET),
        ("in_stock ? price < 50 : changed(price)", Verdict.MET),
    ],
)
def test_without_enough_history_a_condition_is_not_met_unless_the_rest_decides(
    condition: str, expected: Verdict
) -> None:
    judged = judge(condition)
    assert judged.verdict is expected
    assert (judged.reason is None) == (expected is Verdict.MET)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("price < 50", Verdict.INCONCLUSIVE),
        ("price < 50 && in_stock", Verdict.INCONCLUSIVE),
        ("price < 50 && !in_stock", Verdict.NOT_MET),
        ("price < 50 || in_stock", Verdict.MET),
        ("changed(price)", Verdict.INCONCLUSIVE),
        ("changed(title) || price < 50", Verdict.INCONCLUSIVE),
        ("in_stock", Verdict.MET),
    ],
)
def test_a_fact_that_was_not_found_is_inconclusive_unless_the_rest_decides(condition: str, expected: Verdict) -> None:
    judged = judge(condition, price=None)
    assert judged.verdict is expected
    assert (judged.reason == "price was not found") == (expected is Verdict.INCONCLUSIVE)
    assert judge(condition, price=None).inputs.get("price") is None


def test_a_defined_temporal_result_of_a_missing_fact_still_decides() -> None:
    assert verdict("previous(price) > 3", {TemporalCall("previous", "price"): 4.0}, price=None) is Verdict.MET


@pytest.mark.parametrize(
    ("condition", "values", "reason"),
    [
        ("price / (stock - 3) > 1", {}, "division by zero"),
        ("price / size(titles) > 1", {"titles": []}, "division by zero"),
        ("titles[7] == 'x'", {}, "Index error: index=7 size=2"),
        ("double(title) > 3", {}, "cannot convert string to double"),
        ("title.matches(package)", {"package": "("}, "invalid regular expression: missing ): ("),
        ("price > 1", {"price": "many"}, "price is not a number"),
        ("price > 1", {"price": True}, "price is not a number"),
        ("price > 1", {"price": float("nan")}, "price is not a number"),
        ("in_stock", {"in_stock": 1.0}, "in_stock is not a boolean"),
        ("titles == []", {"titles": "a"}, "titles is not a list"),
        ("updated > updated", {"updated": "noon"}, "updated is not a timestamp: 'noon'"),
        ("updated > updated", {"updated": "2026-01-01T05:30:00"}, "updated has no time zone"),
        ("title == 'a'", {"title": "x" * (CHARS_MAX + 1)}, "title has 200001 characters; this condition can look"),
        (
            "titles.exists(t, t == title)",
            {"title": "x" * (LOOPED_CHARS_MAX + 1)},
            "title has 20001 characters; this condition can look",
        ),
        ("titles.all(t, titles.all(u, t == u))", {"titles": ["a"] * 500}, "took too much work"),
        ("[1.0, 'a'].map(x, x + x) == []", {}, "No matching overloads found"),
    ],
)
def test_what_fails_while_judging_is_inconclusive_with_the_reason(
    condition: str, values: dict[str, FactValue], reason: str
) -> None:
    judged = LANGUAGE.judge(condition, FACTS, VALUES | values, {})
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason is not None
    assert reason in judged.reason


def test_a_temporal_result_of_another_type_is_inconclusive() -> None:
    judged = judge("previous(price) > 3", {TemporalCall("previous", "price"): "four"})
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == "previous(price) is not a number"


def test_text_that_is_not_unicode_is_refused_or_inconclusive() -> None:
    with pytest.raises(ConditionInvalid, match="not Unicode"):
        LANGUAGE.check("title == '\ud800'", FACTS)
    assert verdict("title == 'a'", title="\ud800") is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "condition", ["true", "1 < 2", "'a' in ['a']", 'true && held_for("P1D")', "[1].all(x, x > 0) // price"]
)
def test_who_asks_for_a_condition_refers_to_a_fact_and_what_is_stored_is_judged_all_the_same(condition: str) -> None:
    with pytest.raises(ConditionInvalid) as caught:
        LANGUAGE.check_asked(condition, FACTS)
    assert caught.value.field == "condition"
    assert "refers to no fact" in caught.value.message
    assert "Refer to a fact; the facts are: price (number)" in caught.value.message
    assert LANGUAGE.check(condition, FACTS) is not None


@pytest.mark.parametrize(
    "condition", ["in_stock", "price < 50 && true", "changed(price)", "has(previous(price))", "size(titles) > 0"]
)
def test_a_condition_that_refers_to_a_fact_is_asked_for_as_it_is_checked(condition: str) -> None:
    assert LANGUAGE.check_asked(condition, FACTS) == LANGUAGE.check(condition, FACTS)


def test_what_a_condition_asks_of_history_gives_the_kind_and_when_it_fires() -> None:
    low = LANGUAGE.check('record_low(price, "P90D")', FACTS)
    new = LANGUAGE.check("price < 50 && added(titles)", FACTS)
    assert [kind_of(calls) for calls in ((), low, new)] == [
        Kind.CURRENT_STATE,
        Kind.HISTORICAL_CHANGE,
        Kind.HISTORICAL_CHANGE,
    ]
    assert [fires_by_default(calls) for calls in ((), low, new)] == [Fires.ON_ENTRY, Fires.ON_ENTRY, Fires.EACH_TIME]


def test_the_same_condition_over_other_facts_is_another_program() -> None:
    assert LANGUAGE.check("price < 50", FACTS) == ()
    text = (FactSpec(name="price", type=FactType.TEXT),)
    with pytest.raises(ConditionInvalid):
        LANGUAGE.check("price < 50", text)


HOSTILE = [
    "!" * 1_900 + "in_stock",
    "-" * 1_900 + "price > 1",
    "in_stock" + "&&in_stock" * 180,
    "size([" + "1," * 950 + "1]) > 3",
    'title.matches("(?i)a.*b.*c$") || ' * 60 + "in_stock",
    "[1,2,3,4,5,6,7,8,9].all(a,[1,2,3,4,5,6,7,8,9].all(b,[1,2,3,4,5,6,7,8,9].all(c,titles.all(d,!title.matches('(?i)a.b')))))",
    "title.matches('((a{100}){100}){100}')",
    "title.matches('(a+)+$')",
    "titles.map(x, [x, x, x, x, x, x, x, x]).all(y, y == y)",
    "'" + "\\" * 1_500 + "'",
    "'" * 1_999,
    '"""' * 600,
    "/" * 1_000,
    "price" + "/price" * 300 + " > 1",
    "price" + "." * 1_500,
    "titles" + "[0]" * 500,
    "changed(" * 200,
    "changed(price) ||" * 100 + "in_stock",
]


@pytest.mark.parametrize("condition", HOSTILE)
@pytest.mark.timeout(30)
def test_a_hostile_condition_is_refused_or_fast(condition: str) -> None:
    if refusal(condition) is None:
        judge(condition, title="a" * LOOPED_CHARS_MAX, titles=["a" * 100] * 200)


PIECES = """price stock title titles in_stock updated package size nope changed( added( previous( held_for( has( abs( decreased_by( min_over(
    size( .size() .exists( .map( .contains( .getHours() int( duration( timestamp( ( ) [ ] { } , . : ? ! - + * / % == < >= &&
    || in 0 1 50 2.5 1e3 0x1f 7u true null 'a' "P7D" r'\\' '''b''' // é € " ' _ __call_0 and"""
pieces = st.sampled_from([*PIECES.split(), "\n", "\t"])


@settings(max_examples=300)
@given(st.lists(pieces, max_size=14).map(" ".join) | st.text(max_size=40))
def test_any_text_either_compiles_and_gives_a_verdict_or_is_refused_with_a_caret_inside_it(condition: str) -> None:
    refused = refusal(condition)
    if refused is None:
        assert judge(condition).verdict in set(Verdict)
        return
    assert refused.field == "condition"
    lines = refused.message.split("\n")
    if len(lines) > 1:
        assert len(lines) in {3, 4}
        assert 2 <= lines[2].index("^") <= len(condition) + 2


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_whole_numbers_compare_as_numbers(left: int, right: int) -> None:
    expected = Verdict.MET if left < right else Verdict.NOT_MET
    assert verdict(f"price < {right}", price=float(left)) is expected
