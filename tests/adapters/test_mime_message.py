"""The bytes of a mail, and that no header gets into it which nobody asked for (SECURITY row 57)."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.mime_message import HEADERS, MessageRefused, build_message, check_headers, decoded, envelope_address
from domain.mail import MailBody, OutgoingMail, single_line

DATE = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
HIDDEN_BCC = "=?utf-8?q?x=0D=0ABcc=3A_evil=40x?= " + "y" * 90
"""On CPython before 3.11.10 `EmailMessage` writes a real Bcc line for this subject."""

TRICKY_PIECES = (
    '=?utf-8?q?|=?utf-8?b?|?=|=0D=0A|=20| |é|DQo=|=?|"|(|\\|<a@b>|,|:|;|Bcc: e@x|日本|\r\n|\n |\x00|\u2028|\ud800'
)
subjects = st.one_of(
    st.text(max_size=250),
    st.lists(st.sampled_from([*TRICKY_PIECES.split("|"), "x" * 30]), max_size=15).map("".join),
)


def mail(
    subject: str = "Hello", *, to: str = "ada@example.com", text: str = "Hi", html: str = "<p>Hi</p>"
) -> OutgoingMail:
    return OutgoingMail(message_id="<abc@vigil.example>", to=to, subject=subject, body=MailBody(html=html, text=text))


def built(outgoing: OutgoingMail, *, sender: str = "Vigil <vigil@example.com>") -> bytes:
    return build_message(outgoing, sender=sender, date=DATE)


def read(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=default)


def test_a_mail_says_who_when_and_that_a_machine_wrote_it() -> None:
    message = read(built(mail("Grüße aus Köln")))
    assert message["From"] == "Vigil <vigil@example.com>"
    assert message["To"] == "ada@example.com"
    assert message["Subject"] == "Grüße aus Köln"
    assert message["Date"].datetime == DATE
    assert message["Message-ID"] == "<abc@vigil.example>"
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_text_stands_before_the_html_and_both_come_back_unchanged() -> None:
    text, html = "Größe: 5 €\n.\nFrom here\n" + "ü" * 2000 + "\n", "<p>日本 \ud800</p>\n"
    message = read(built(mail(text=text, html=html)))
    parts = [cast("EmailMessage", part) for part in message.iter_parts()]
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert [part.get_content_charset() for part in parts] == ["utf-8", "utf-8"]
    assert [part.get_content().replace("\r\n", "\n") for part in parts] == [text, html.replace("\ud800", "?")]


def test_the_wire_form_is_ascii_in_short_lines_with_crlf() -> None:
    data = built(mail("Ä" * 150, text="ü" * 3000, html="<p>" + "x" * 3000))
    assert data.isascii()
    assert data.count(b"\n") == data.count(b"\r\n")
    assert max(len(line) for line in data.split(b"\r\n")) <= 78


def test_a_line_break_hidden_in_an_encoded_word_makes_no_header() -> None:
    data = built(mail(HIDDEN_BCC))
    assert [name.lower() for name in read(data)] == [name.lower() for name in HEADERS]
    assert b"\r\nBcc" not in data
    assert decoded(HIDDEN_BCC) == "x Bcc: evil@x " + "y" * 90


def test_an_encoded_word_inside_an_encoded_word_is_decoded_too() -> None:
    assert decoded("=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=3D0D=3D0AB=3F=3D?=") == "a B"


@given(subjects)
@example(HIDDEN_BCC)
def test_no_subject_adds_or_removes_a_header_and_each_reads_back(subject: str) -> None:
    message = read(built(mail(subject)))
    assert [name.lower() for name in message] == [name.lower() for name in HEADERS]
    assert message["Subject"] == decoded(subject)


@given(subjects.filter(lambda subject: "=?" not in single_line(subject, chars_max=200)))
def test_a_subject_without_encoded_words_reads_back_as_it_was_written(subject: str) -> None:
    assert read(built(mail(subject)))["Subject"] == single_line(subject, chars_max=200)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_body_adds_a_header(text: str, html: str) -> None:
    message = read(built(mail(text=text, html=html)))
    assert [name.lower() for name in message] == [name.lower() for name in HEADERS]
    assert len(list(message.iter_parts())) == 2


@pytest.mark.parametrize("line", [b"Bcc: evil@example.com\r\n", b"To: other@example.com\r\n", b"no header\r\n"])
def test_the_guard_refuses_what_reads_back_otherwise(line: bytes) -> None:
    outgoing = mail()
    data = built(outgoing)
    check_headers(data, outgoing)
    with pytest.raises(MessageRefused):
        check_headers(line + data, outgoing)


def test_the_guard_refuses_a_mail_that_lost_a_header_or_goes_elsewhere() -> None:
    outgoing = mail()
    data = built(outgoing)
    with pytest.raises(MessageRefused):
        check_headers(data.replace(b"Auto-Submitted: auto-generated\r\n", b""), outgoing)
    with pytest.raises(MessageRefused):
        check_headers(data, mail(to="other@example.com"))


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ada",
        "@example.com",
        "a@x, b@y",
        "a@x;b@y",
        "a@x\r\nBcc: b@y",
        "a b@x",
        "a@x (note)",
        "Ada <ada@example.com>",
    ],
)
def test_a_recipient_is_exactly_one_address(to: str) -> None:
    with pytest.raises(MessageRefused):
        built(mail(to=to))


@pytest.mark.parametrize("message_id", ["", "abc@x", "<abc>", "<a@b>\r\nBcc: c@d", "<a b@c>", "<a@b> <c@d>"])
def test_a_message_id_is_exactly_one(message_id: str) -> None:
    outgoing = OutgoingMail(message_id=message_id, to="a@example.com", subject="s", body=MailBody(html="h", text="t"))
    with pytest.raises(MessageRefused):
        built(outgoing)


@pytest.mark.parametrize(
    ("sender", "address", "shown"),
    [
        ("vigil@example.com", "vigil@example.com", "vigil@example.com"),
        ("Vigil <vigil@example.com>", "vigil@example.com", "Vigil <vigil@example.com>"),
        ('"Vigil, Inc." <vigil@example.com>', "vigil@example.com", '"Vigil, Inc." <vigil@example.com>'),
        ("Wächter <vigil@example.com>", "vigil@example.com", "Wächter <vigil@example.com>"),
    ],
)
def test_a_sender_may_have_a_name(sender: str, address: str, shown: str) -> None:
    assert envelope_address(sender) == address
    assert read(built(mail(), sender=sender))["From"] == shown


def test_an_international_address_is_written_as_utf_8() -> None:
    data = built(mail(to="käthe@example.com"))
    assert "To: käthe@example.com\r\n".encode() in data
    assert read(data)["To"] == "käthe@example.com"
