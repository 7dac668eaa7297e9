"""Subjects and the cleaning of text from outside."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from domain.action import SUBJECT_CHARS_MAX
from domain.mail import render_subject, several_lines, single_line


def subject(
    template: str | None, *, monitor: str = "Rain", state: str = "active", explanation: str = "it rains"
) -> str:
    return render_subject(template, monitor=monitor, state=state, explanation=explanation)


def test_without_a_template_the_subject_names_the_monitor_and_its_state() -> None:
    assert subject(None) == "Vigil: Rain is now active"


def test_only_the_three_placeholders_are_replaced() -> None:
    assert subject("{monitor}/{state}/{explanation}/{other}/{0}/{monitor.__class__}/{{x}}") == (
        "Rain/active/it rains/{other}/{0}/{monitor.__class__}/{{x}}"
    )


def test_what_is_put_in_is_not_looked_at_again() -> None:
    assert subject("{monitor}", monitor="{explanation}{state}{{7*7}}") == "{explanation}{state}{{7*7}}"


def test_a_template_of_which_nothing_is_left_gives_the_default() -> None:
    assert subject("{explanation}", explanation=" \x00\r\n ") == "Vigil: Rain is now active"


def test_a_line_break_in_a_name_becomes_a_space() -> None:
    assert subject("{monitor}", monitor="a\r\nBcc: b@example.com") == "a Bcc: b@example.com"


def test_a_long_subject_is_cut_with_an_ellipsis() -> None:
    shown = subject("{explanation}", explanation="word " * 100)
    assert len(shown) <= SUBJECT_CHARS_MAX
    assert shown.endswith("word…")


@given(st.text(), st.text(), st.text(max_size=300))
def test_every_subject_is_one_printable_line_of_allowed_length(template: str, monitor: str, explanation: str) -> None:
    shown = render_subject(template, monitor=monitor, state="active", explanation=explanation)
    assert 1 <= len(shown) <= SUBJECT_CHARS_MAX
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert shown == " ".join(shown.split())


def test_characters_that_turn_the_direction_of_text_are_removed() -> None:
    assert single_line("invoice\u202efdp.exe \u2066x\u2069", chars_max=100) == "invoicefdp.exe x"


def test_joined_emoji_stay_whole() -> None:
    assert single_line("👩\u200d🚀", chars_max=10) == "👩\u200d🚀"


def test_several_lines_keep_their_breaks_and_lose_controls() -> None:
    assert several_lines("one\r\ntwo\x1b[31m\x00\n\n three ", chars_max=100) == "one\ntwo[31m\n\nthree"
    assert several_lines("x" * 20, chars_max=10) == "x" * 9 + "…"
