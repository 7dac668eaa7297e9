"""Sealing personal data under a key of the person's own.

A sealed field is `{"sealed": base64url(nonce || ciphertext || tag)}`. The associated data are the stream, the version, the
event's tag and the field's place, so that a ciphertext opens where it was written and nowhere else (SECURITY.md row 59).
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import msgspec

from adapters.aes_gcm import Cipher, NotSealedHere
from domain.event import Event, personal_fields
from domain.event_codec import encode
from domain.personal_data import SEALED, Personal, change_personal, hidden, placeholder, sealed_text
from projections.projection import CannotApply

_encoder = msgspec.json.Encoder()


class SealBroken(CannotApply):
    """A sealed field does not open with its person's key: it was changed, or written for another place."""

    def __init__(self, stream_id: UUID, version: int, tag: str, field: str) -> None:
        super().__init__(
            f"the field {field} of {tag}, version {version} of stream {stream_id}, is not what was sealed there;"
            " `vigil events verify` says whether the log was changed"
        )


class PersonKeyMissing(Exception):
    """There are sealed fields of a person, and neither their key nor a sign that it was destroyed."""

    def __init__(self, owner_id: UUID) -> None:
        super().__init__(f"the key of the person {owner_id} is not in the table person_key; restore it from its backup")


class Key(Protocol):
    """What is done with one person's fields when they are written and read."""

    def sealed(self, value: object, kind: Personal, where: bytes) -> object:
        """What is stored for a value at a place."""
        ...

    def opened(self, text: str, kind: Personal, where: bytes) -> object:
        """What is read for a sealed text at a place; raises `NotSealedHere` or `ValueError` when it was not sealed there."""
        ...


class PersonKey(Cipher):
    """The key of a person."""

    def sealed(self, value: object, kind: Personal, where: bytes) -> object:  # noqa: ARG002  not of its kind
        """The value, sealed for this place."""
        return {SEALED: base64.urlsafe_b64encode(self.seal(_encoder.encode(value), where)).decode()}

    def opened(self, text: str, kind: Personal, where: bytes) -> object:  # noqa: ARG002  not of its kind
        """What was sealed."""
        return msgspec.json.decode(self.unseal(base64.b64decode(text, altchars=b"-_", validate=True), where))


@dataclass(frozen=True, slots=True)
class DestroyedKey:
    """What is left of the key of somebody who was erased: all they said, and all that is still to be said, is gone."""

    owner_id: UUID

    def sealed(self, value: object, kind: Personal, where: bytes) -> object:  # noqa: ARG002  gone
        """The placeholder."""
        return placeholder(kind, self.owner_id)

    def opened(self, text: str, kind: Personal, where: bytes) -> object:  # noqa: ARG002  gone
        """The placeholder."""
        return placeholder(kind, self.owner_id)


@dataclass(frozen=True, slots=True)
class MissingKey:
    """A key that should be there and is not. To take its person for erased would lose what can still be had back."""

    owner_id: UUID

    def sealed(self, value: object, kind: Personal, where: bytes) -> object:  # noqa: ARG002  none of it is looked at
        """Raises `PersonKeyMissing`."""
        raise PersonKeyMissing(self.owner_id)

    def opened(self, text: str, kind: Personal, where: bytes) -> object:  # noqa: ARG002  none of it is looked at
        """Raises `PersonKeyMissing`."""
        raise PersonKeyMissing(self.owner_id)


class ClearKey:
    """For stores that keep what people said in the clear."""

    def sealed(self, value: object, kind: Personal, where: bytes) -> object:  # noqa: ARG002  as it is
        """The value."""
        return value

    def opened(self, text: str, kind: Personal, where: bytes) -> object:  # noqa: ARG002  as it is
        """Raises `ValueError`: nothing can be sealed here."""
        raise ValueError


class HiddenKey:
    """For those who read events and not what people said in them."""

    def sealed(self, value: object, kind: Personal, where: bytes) -> object:  # noqa: ARG002  none of it is looked at
        """Raises `TypeError`: who may not read does not write."""
        raise TypeError("a store that hides personal data is only read")

    def opened(self, text: str, kind: Personal, where: bytes) -> object:  # noqa: ARG002  nothing is opened
        """Says that something is there."""
        return hidden(kind)


KeyOf = Callable[[UUID], Key]


def seal_event(event: Event, key_of: KeyOf, *, owner_id: UUID, stream_id: UUID, version: int) -> bytes:
    """The JSON of an event as it is stored. One without personal fields is exactly what the codec makes of it."""
    plain = encode(event)
    if not event.personal:
        return plain
    key, data = key_of(owner_id), msgspec.json.decode(plain)

    def change(place: str, kind: Personal, value: object) -> object:
        return key.sealed(value, kind, _place(stream_id, version, event.tag, place))

    change_personal(data, event.personal, change)
    return _encoder.encode(data)


def open_event(data: str, key_of: KeyOf, *, tag: str, owner_id: UUID, stream_id: UUID, version: int) -> str:
    """The JSON of a stored event with its personal fields as they were said; one that was stored in the clear stays.

    Opening must come before upcasting: a field opens at the place where it was written. Raises `SealBroken`.
    """
    fields = personal_fields(tag)
    if not fields:
        return data
    key, document = key_of(owner_id), msgspec.json.decode(data)

    def change(place: str, kind: Personal, value: object) -> object:
        text = sealed_text(value)
        if text is None:
            return value
        try:
            return key.opened(text, kind, _place(stream_id, version, tag, place))
        except (NotSealedHere, ValueError):
            raise SealBroken(stream_id, version, tag, place) from None

    change_personal(document, fields, change)
    return _encoder.encode(document).decode()


def hide_event(data: str, *, tag: str) -> str:
    """The JSON of a stored event with "(sealed)" where something is, for those who are not to read it."""
    nil = UUID(int=0)
    return open_event(data, lambda _owner_id: HiddenKey(), tag=tag, owner_id=nil, stream_id=nil, version=0)


def _place(stream_id: UUID, version: int, tag: str, place: str) -> bytes:
    return _encoder.encode(("vigil personal field", stream_id, version, tag, place))
