"""Link tokens: what they say, and that nothing else is believed."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hmac_link_tokens import HmacLinkTokens
from commands.identity_ports import LinkInvalid

OLD, NEW = b"old installation secret of 32 chars", b"new installation secret of 32 chars"
USER, TOKEN = UUID(int=7), UUID(int=9)
PURPOSE = "verify-email"


@pytest.fixture(scope="module")
def links() -> HmacLinkTokens:
    return HmacLinkTokens([OLD])


@given(st.uuids(), st.uuids(), st.text(max_size=20))
def test_a_token_tells_its_ids_needs_no_quoting_and_is_the_same_every_time(
    user_id: UUID, token_id: UUID, purpose: str
) -> None:
    links = HmacLinkTokens([OLD])
    token = links.make(purpose, user_id, token_id)
    assert links.read(purpose, token) == (user_id, token_id)
    assert re.fullmatch("[A-Za-z0-9_-]{86}", token)
    assert links.make(purpose, user_id, token_id) == token


@given(st.integers(0, 511))
def test_a_token_with_any_bit_turned_is_refused(bit: int) -> None:
    links = HmacLinkTokens([OLD])
    content = int.from_bytes(urlsafe_b64decode(links.make(PURPOSE, USER, TOKEN) + "==")) ^ 1 << bit
    forged = urlsafe_b64encode(content.to_bytes(64)).decode().rstrip("=")
    with pytest.raises(LinkInvalid):
        links.read(PURPOSE, forged)


@given(st.text(max_size=100) | st.text(alphabet="AZaz09-_=+/.\n \u00e9", min_size=84, max_size=90))
@settings(max_examples=200)
def test_any_other_text_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(LinkInvalid):
        HmacLinkTokens([OLD]).read(PURPOSE, text)


def test_a_token_has_one_spelling(links: HmacLinkTokens) -> None:
    token = links.make(PURPOSE, USER, TOKEN)
    assert token[-1] in "AQgw"
    unused_bits_set = token[:-1] + chr(ord(token[-1]) + 1)
    foreign_character = f"{token[:40]}!{token[41:]}"
    standard_alphabet = token.replace("-", "+").replace("_", "/")
    others = {unused_bits_set, foreign_character, standard_alphabet, f"{token}==", f"{token}A", token[:-1], f" {token}"}
    for other in others - {token}:
        with pytest.raises(LinkInvalid):
            links.read(PURPOSE, other)


@pytest.mark.parametrize("purpose", ["reset-password", "", "verify-emai", "verify-email\0", "Verify-Email"])
def test_a_token_serves_one_purpose(links: HmacLinkTokens, purpose: str) -> None:
    with pytest.raises(LinkInvalid):
        links.read(purpose, links.make(PURPOSE, USER, TOKEN))


def test_the_two_ids_cannot_be_exchanged(links: HmacLinkTokens) -> None:
    content = urlsafe_b64decode(links.make(PURPOSE, USER, TOKEN) + "==")
    exchanged = content[16:32] + content[:16] + content[32:]
    with pytest.raises(LinkInvalid):
        links.read(PURPOSE, urlsafe_b64encode(exchanged).decode().rstrip("="))


def test_a_new_secret_makes_and_the_old_still_reads_until_it_is_taken_out(links: HmacLinkTokens) -> None:
    before = links.make(PURPOSE, USER, TOKEN)
    both = HmacLinkTokens([NEW, OLD])
    assert both.read(PURPOSE, before) == (USER, TOKEN)
    after = both.make(PURPOSE, USER, TOKEN)
    assert after == HmacLinkTokens([NEW]).make(PURPOSE, USER, TOKEN) != before
    with pytest.raises(LinkInvalid):
        HmacLinkTokens([NEW]).read(PURPOSE, before)
