"""The shape of a type differs where what it reads differs, and nowhere else."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
import pytest

from domain.shape import fingerprint_of, shape_of


class Heat(StrEnum):
    LOW = "low"
    HIGH = "high"


class Pot(msgspec.Struct, frozen=True, kw_only=True, tag="pot"):
    litres: Annotated[float, msgspec.Meta(gt=0)]


class Pan(msgspec.Struct, frozen=True, kw_only=True, tag="pan"):
    lids: tuple[str, ...] = ()


@dataclass
class Stove:
    heat: Heat = Heat.LOW
    on: frozenset[int] = frozenset()
    pots: list[Pot | Pan] = field(default_factory=list)
    by_name: dict[str, Pan] = field(default_factory=dict)
    place: tuple[int, Pan] | None = None
    fuel: Literal["gas", "wood"] = "gas"
    maker: Annotated[str, msgspec.Meta(description="who made it")] = ""
    largest: Annotated[Pan | None, msgspec.Meta(description="of all")] = None
    marks: Annotated[list[int], msgspec.Meta(max_length=3)] = field(default_factory=list)


def test_every_kind_of_field_has_its_line() -> None:
    assert shape_of(Stove) == [
        "by_name: {str: struct type=pan} = {}",
        "by_name{}<pan>.lids: [str] = []",
        "fuel: 'gas' | 'wood' = \"gas\"",
        "heat: 'high' | 'low' = \"low\"",
        "largest: none | struct type=pan = null",
        "largest<pan>.lids: [str] = []",
        'maker: str = ""',
        'marks: [int] {"max_length":3} = []',
        "on: [int] = []",
        "place: [int, struct type=pan] | none = null",
        "place[1]<pan>.lids: [str] = []",
        "pots: [struct type=pan | struct type=pot] = []",
        "pots[]<pan>.lids: [str] = []",
        'pots[]<pot>.litres: float {"gt":0}',
    ]


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (int, ["int"]),
        (list[str], ["[str]"]),
        (int | None, ["int | none"]),
        (dict[str, bool], ["{str: bool}"]),
        (list[Pan], ["[]<pan>.lids: [str] = []", "[struct type=pan]"]),
    ],
)
def test_a_type_without_fields_has_a_line_of_its_own(kind: object, lines: list[str]) -> None:
    assert shape_of(kind) == lines


def test_types_of_other_shapes_have_other_fingerprints() -> None:
    kinds = [Stove, Pot, Pan, Heat, int, int | None, list[int], list[Pan], Annotated[int, msgspec.Meta(ge=0)]]
    assert len({fingerprint_of(kind) for kind in kinds}) == len(kinds)


def test_what_msgspec_cannot_read_has_no_shape() -> None:
    with pytest.raises(TypeError):
        shape_of(Pot | Stove)
