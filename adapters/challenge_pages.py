"""Pages that ask for a human in place of the content, which are never taken for a change of it.

A page counts as one only when it says next to nothing else: articles about such pages show the same words and scripts.
"""

import re
from collections.abc import Mapping

PAGE_BYTES_MAX = 128 * 1024
"""No larger page is looked at; the ones seen have 1 to 40 KB."""
TEXT_BYTES_MAX = 1200
"""How much text such a page shows at the most."""

# Said of the answer itself: Cloudflare, AWS WAF, Vercel.
_HEADERS = {
    "cf-mitigated": re.compile("challenge"),
    "x-amzn-waf-action": re.compile("challenge|captcha"),
    "x-vercel-mitigated": re.compile("challenge|deny"),
}
_TITLE = re.compile(
    rb"<title[^<>]*>\s*(just a moment\.{0,3}|attention required! \| cloudflare|access denied|"
    rb"access to this page has been denied\.?|pardon our interruption\.{0,3}|robot check|are you a robot\??|"
    rb"bot verification|(verify(ing)?|confirm) (that )?you are (a )?human[^<]{0,80}|security check(point)?|"
    rb"vercel security checkpoint|ddos-guard|(please )?human verification|you are being redirected\.{0,3}|"
    rb"making sure you(&#39;|&#x27;|')re not a bot!?|client challenge|(one moment, please|please wait)\.{0,3}|"
    rb"checking your browser[^<]{0,80})\s*</title>",
    re.IGNORECASE,
)
# What only the challenge itself carries. The sensors that the same products put on every page do not count.
_MARKS = (
    b"window._cf_chl_opt",  # Cloudflare
    b"cf-browser-verification",
    b'id="challenge-form"',
    b"captcha-delivery.com/",  # DataDome
    b'id="px-captcha"',  # PerimeterX, HUMAN
    b"id='px-captcha'",
    b"Incapsula incident ID",  # Imperva
    b"/?bm-verify=",  # Akamai
    b"sec-if-cpt-container",
    b"window.gokuProps",  # AWS WAF
    b"sucuri_cloudproxy_js",  # Sucuri
    b'id="anubis_challenge"',  # Anubis
    b"/_sec/cp_challenge/",
)
_WORDS = re.compile(
    rb"(verify|confirm|prove) (that )?you( are|(&#39;|&#x27;|'|\xe2\x80\x99)re) (a |not a )?(human|robot|bot)|"
    rb"enable javascript and cookies to continue|checking (if the site connection is secure|your browser before)",
    re.IGNORECASE,
)
_MARKUP = re.compile(rb"<[^<>]*>")
_ENTITIES_AND_SPACE = re.compile(rb"&[#\w]{1,10};|\s+")


def asks_for_a_human(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer with these headers (their names in any case, as multidicts take them) and this body is a challenge."""
    if any(says.search(headers.get(name, "").lower()) for name, says in _HEADERS.items()):
        return True
    if len(body) > PAGE_BYTES_MAX or not body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return False
    suspect = _TITLE.search(body) or any(mark in body for mark in _MARKS) or _WORDS.search(body)
    return bool(suspect) and len(_shown(body)) <= TEXT_BYTES_MAX


def _shown(body: bytes) -> bytes:
    """About the text a page shows; in time that grows with the page only, whatever it holds."""
    kept = body
    for element in (b"script", b"style", b"svg"):
        kept = b" ".join(_outside(kept, element))
    return _ENTITIES_AND_SPACE.sub(b" ", _MARKUP.sub(b" ", kept)).strip()


def _outside(body: bytes, element: bytes) -> list[bytes]:
    """The stretches of a page outside of an element."""
    first, *rest = re.split(rb"<%b\b" % element, body, flags=re.IGNORECASE)
    ends = (re.split(rb"</%b" % element, part, maxsplit=1, flags=re.IGNORECASE) for part in rest)
    return [first, *(end[1] if len(end) == 2 else b"" for end in ends)]
