"""Schemas of msgspec structs for OpenAPI, and readable operation ids: what Litestar is given to describe the routes with."""

from enum import Enum
from inspect import cleandoc
from typing import Any, Literal

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Reference, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.types import Empty, Method
from litestar.types.internal_types import PathParameterDefinition
from litestar.typing import FieldDefinition

from commands.http.bearer import ANONYMOUS_ROUTE


class DescribedStructs(OpenAPISchemaPlugin):
    """For `Litestar(plugins=[...])`: schemas of structs that keep what Litestar's own leave out, which is the docstring, the
    default of a field whose type is a reference, and that unknown fields are refused."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether the type is a struct."""
        return not field_definition.is_union and field_definition.is_subclass_of(msgspec.Struct)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:  # noqa: ANN401  Litestar's form; the creator's class is not public
        """The schema of a struct."""
        struct = field_definition.origin or field_definition.annotation
        hints = field_definition.get_type_hints(include_extras=True, resolve_generics=True)
        defaults = {field.encode_name: _default(field) for field in msgspec.structs.fields(struct)}
        properties = {
            field.encode_name: FieldDefinition.from_annotation(
                hints[field.name], name=field.encode_name, default=defaults[field.encode_name]
            )
            for field in msgspec.structs.fields(struct)
        }
        required = [field.encode_name for field in msgspec.structs.fields(struct) if field.required]
        config = struct.__struct_config__
        if config.tag_field is not None:
            tag = FieldDefinition.from_annotation(Literal[config.tag])
            properties, required = {config.tag_field: tag, **properties}, [config.tag_field, *required]
        schema: Schema = schema_creator.create_component_schema(
            field_definition, required=required, property_fields=properties
        )
        schema.description = cleandoc(struct.__doc__ or "") or None
        if config.forbid_unknown_fields:
            schema.additional_properties = False
        schema.properties = {
            name: Schema(all_of=[found], default=defaults[name].value)
            if _loses_default(found, defaults, name)
            else found
            for name, found in (schema.properties or {}).items()
        }
        return schema


def operation_id(handler: HTTPRouteHandler, method: Method, _path: list[str | PathParameterDefinition]) -> str:
    """For `OpenAPIConfig(operation_id_creator=...)`: the name of the handler (`create_monitor`), with the method where a
    handler has several. Litestar refuses to make a document with an id that is not unique."""
    return handler.handler_name if len(handler.http_methods) == 1 else f"{method.lower()}_{handler.handler_name}"


def anonymous_operations(app: Litestar) -> frozenset[str]:
    """The operation ids of the routes that need no token."""
    return frozenset(
        operation_id(handler, method, [])
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler) and handler.opt.get(ANONYMOUS_ROUTE)
        for method in handler.http_methods
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401  any value
    """`Empty` for none, also for one that says only that the field was left out."""
    if field.default is msgspec.UNSET:
        return Empty
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return Empty if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _loses_default(found: Schema | Reference, defaults: dict[str, Any], name: str) -> bool:
    """A reference has no room for the default; `Empty` itself is an enum, too."""
    default = defaults.get(name, Empty)
    return isinstance(found, Reference) and isinstance(default, Enum) and default is not Empty
