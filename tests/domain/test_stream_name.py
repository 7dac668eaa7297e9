"""Streams are named in one way, wherever people write them."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.stream_name import StreamName, read_stream_name

ID = "01890000-0000-7000-8000-00000000000a"


@given(kind=st.none() | st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20), stream_id=st.uuids())
def test_a_name_is_read_as_it_was_written_in_either_case(kind: str | None, stream_id: UUID) -> None:
    name = StreamName(kind, stream_id)
    assert read_stream_name(str(name)) == name
    assert read_stream_name(str(name).upper()) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "monitor-",
        f"-{ID}",
        f" {ID}",
        f"{ID}\n",
        f"{ID}x",
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        ID.replace("-", ""),
        f"monitor-{ID.replace('-', '')}",
        f"monitor-{{{ID}}}",
        f"monitor-monitor-{ID}",
        f"mönitor-{ID}",
        ID.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"),
    ],
)
def test_what_is_no_name_of_a_stream_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_stream_name(text)
    assert refused.value.field == "stream"


def test_a_name_fits_a_stream_of_its_kind_and_without_a_kind_every_stream() -> None:
    assert read_stream_name(f"trigger-{ID}").fits("trigger")
    assert not read_stream_name(f"trigger-{ID}").fits("monitor")
    assert read_stream_name(ID).fits("monitor")
