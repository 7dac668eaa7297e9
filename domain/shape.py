"""The shape of a type: what decides which JSON it reads and what that means, and nothing else.

Names of classes and modules, docstrings and the order of fields are no part of it.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import inspect


def shape_of(kind: object) -> list[str]:
    """The shape of a type that msgspec can read, a sorted line for each field down to the last, such as

        plan.facts[].unit: none | str = null
        plan.schedule: struct kind=cron | struct kind=every
        plan.schedule<every>.seconds: int

    Raises `TypeError` for a type that msgspec cannot read.
    """
    info = inspect.type_info(kind)
    itself = [] if isinstance(info, inspect.StructType | inspect.DataclassType) else [_word(info)]
    return sorted([*itself, *_inside(info, "")])


def fingerprint_of(kind: object) -> str:
    """Sixteen hexadecimal digits that differ for types of different shapes."""
    return hashlib.sha256("\n".join(shape_of(kind)).encode()).hexdigest()[:16]


def _inside(info: inspect.Type, path: str) -> Iterator[str]:
    """The lines of all fields below a type that stands at `path`."""
    match info:
        case inspect.Metadata(type=annotated):
            yield from _inside(annotated, path)
        case inspect.StructType(fields=fields, tag=tag):
            yield from _fields(fields, path if tag is None else f"{path}<{tag}>")
        case inspect.DataclassType(fields=fields):
            yield from _fields(fields, path)
        case inspect.UnionType(types=alternatives):
            for alternative in alternatives:
                yield from _inside(alternative, path)
        case inspect.TupleType(item_types=items):
            for number, item in enumerate(items):
                yield from _inside(item, f"{path}[{number}]")
        case inspect.CollectionType(item_type=item):
            yield from _inside(item, f"{path}[]")
        case inspect.DictType(value_type=value):
            yield from _inside(value, f"{path}{{}}")
        case _:
            pass


def _fields(fields: Sequence[inspect.Field], path: str) -> Iterator[str]:
    for field in fields:
        place = f"{path}.{field.encode_name}".removeprefix(".")
        yield f"{place}: {_word(field.type)}{_default(field)}"
        yield from _inside(field.type, place)


def _default(field: inspect.Field) -> str:
    if field.required:
        return ""
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return f" = {msgspec.json.encode(value, order='deterministic').decode()}"


def _word(info: inspect.Type) -> str:
    """A type in a few words; the fields of structs have lines of their own."""
    match info:
        case inspect.Metadata(type=annotated):
            return _word(annotated)
        case inspect.StructType(tag_field=tag_field, tag=tag):
            return "struct" if tag is None else f"struct {tag_field}={tag}"
        case inspect.DataclassType():
            return "struct"
        case inspect.EnumType(cls=cls):
            return " | ".join(sorted(repr(member.value) for member in cls))
        case inspect.LiteralType(values=values):
            return " | ".join(sorted(map(repr, values)))
        case inspect.UnionType(types=alternatives):
            return " | ".join(sorted(map(_word, alternatives)))
        case inspect.TupleType(item_types=items):
            return f"[{', '.join(map(_word, items))}]"
        case inspect.CollectionType(item_type=item):
            return f"[{_word(item)}]{_constraints(info)}"
        case inspect.DictType(key_type=key, value_type=value):
            return f"{{{_word(key)}: {_word(value)}}}{_constraints(info)}"
        case _:
            return type(info).__name__.removesuffix("Type").lower() + _constraints(info)


def _constraints(info: inspect.Type) -> str:
    given = {
        name: value
        for name, value in msgspec.structs.asdict(info).items()
        if value is not None and not isinstance(value, inspect.Type)
    }
    return f" {msgspec.json.encode(given).decode()}" if given else ""
