"""The catalogue of error codes is complete and agrees with the code that answers them."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import commands
import commands.http.failures
import domain
import read_api
from commands.http.error_catalogue import ERROR_CATALOGUE, Reach
from commands.http.failures import CODE_OF_STATUS, STATUS_OF_RULE
from domain.errors import RuleViolation

CODE = re.compile(r"[A-Z]+(_[A-Z]+)*")
PACKAGES = (domain, commands, read_api)


def modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)


def rules(cls: type[RuleViolation] = RuleViolation) -> Iterator[type[RuleViolation]]:
    if cls.__module__.partition(".")[0] in {package.__name__ for package in PACKAGES}:
        yield cls
    for narrower in cls.__subclasses__():
        yield from rules(narrower)


def tree_of(module: ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))


def literal_codes() -> set[str]:
    """Every literal in the module of failures that has the form of a code, and the code of every call of `failure`."""
    codes = {
        node.value
        for node in ast.walk(tree_of(commands.http.failures))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }
    for module in modules():
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failure":
                codes |= {str(arg.value) for arg in node.args[2:3] if isinstance(arg, ast.Constant)}
    return codes


def answered_codes() -> set[str]:
    list(modules())  # a class is known to its parent once its module is imported
    return {rule.code for rule in rules()} | set(CODE_OF_STATUS.values()) | literal_codes()


def test_every_code_the_api_can_answer_is_in_the_catalogue() -> None:
    catalogued = {entry.code for entry in ERROR_CATALOGUE}
    assert answered_codes() - catalogued == set(), "describe these in commands/http/error_catalogue.py"


def test_the_catalogue_holds_no_code_that_nothing_answers() -> None:
    assert {entry.code for entry in ERROR_CATALOGUE} - answered_codes() == set()


def test_the_scan_finds_rules_statuses_literals_and_the_read_side() -> None:
    assert {"MONITOR_LIMIT_EXCEEDED", "BODY_TOO_LARGE", "INTERNAL_ERROR", "STALE_READ"} <= answered_codes()


def test_each_code_is_described_once_and_in_order_of_status() -> None:
    codes = [entry.code for entry in ERROR_CATALOGUE]
    assert len(codes) == len(set(codes))
    statuses = [entry.status for entry in ERROR_CATALOGUE if entry.status is not None]
    assert statuses == sorted(statuses)


def test_a_broken_rule_is_answered_with_the_status_the_catalogue_says() -> None:
    list(modules())
    status_of = {entry.code: entry.status for entry in ERROR_CATALOGUE}
    for rule in rules():
        answered = next(STATUS_OF_RULE[cls] for cls in rule.__mro__ if cls in STATUS_OF_RULE)
        assert status_of[rule.code] == answered, rule


def test_a_refusal_of_the_framework_has_the_status_the_catalogue_says() -> None:
    status_of = {entry.code: entry.status for entry in ERROR_CATALOGUE}
    for status, code in CODE_OF_STATUS.items():
        assert status_of[code] == status


def test_every_entry_says_cause_cure_and_an_example() -> None:
    for entry in ERROR_CATALOGUE:
        assert CODE.fullmatch(entry.code)
        for text in (entry.cause, entry.cure):
            assert text.endswith("."), entry.code
            assert "  " not in text, entry.code
        assert entry.example, entry.code


def test_the_message_of_a_rule_is_the_example_of_its_code() -> None:
    """Codes that one rule alone stands for show the message that rule gives."""
    list(modules())
    example_of = {entry.code: entry.example for entry in ERROR_CATALOGUE}
    shared = {"VALIDATION_ERROR", "CONFLICT"}
    for rule in rules():
        if rule.code not in shared:
            assert rule().message == example_of[rule.code]


def test_only_named_codes_name_operations() -> None:
    for entry in ERROR_CATALOGUE:
        assert not entry.operations or entry.reach is Reach.NAMED, entry.code
