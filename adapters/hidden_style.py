"""Whether what stands in a `style` attribute hides an element. Said without rendering the page, so only of what hides by itself."""

import re

VALUE_CHARS_MAX = 200
"""A longer one is not looked at: searching it would take the square of its length."""

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.DOTALL | re.IGNORECASE)
_UNIT = r"(?:p[xtc]|r?em|ex|ch|in|[cm]m|q|v[wh]|vmin|vmax|%)?"
_ZERO = rf"[+-]?(?:0+(?:\.0*)?|\.0+){_UNIT}"
_TINY = rf"(?:{_ZERO}|[01]?(?:\.\d+)?p[xt]|0*\.[01]\d*r?em|\d(?:\.\d+)?%)"
_FAR = r"-(?:(?:[5-9]\d\d|\d{4,})(?:\.\d+)?p[xt]|(?:[3-9]\d|\d{3,})(?:\.\d+)?r?em|\d{4,}(?:\.\d+)?(?:%|v[wh]))"
_ALPHA = r"(?:[^),]*,[^),]*,[^),]*,|[^),/]*/)"
_CLEAR = rf"transparent|#[0-9a-f]{{3}}0|#[0-9a-f]{{6}}00|(?:rgb|hsl)a?\({_ALPHA}\s*{_ZERO}\s*\)"
_OTHERS = frozenset({"", "inherit", "initial", "unset", "revert", "revert-layer"})
_NARROW = rf"(?:{_ZERO}|1px)"

_HIDING = {
    name: re.compile(pattern, re.IGNORECASE)
    for names, pattern in (
        ("display", "none"),
        ("visibility content-visibility", "hidden|collapse"),
        ("opacity zoom scale", rf"{_ZERO}|0*\.0[0-4]\d*|[0-4](?:\.\d+)?%"),
        ("font-size", _TINY),
        ("font", rf"(?:.*\s)?{_TINY}(?:\s*/.*|\s.*)"),
        ("text-indent left right top bottom margin-left margin-right margin-top", _FAR),
        ("transform", rf".*(?:scale[xy3d]*\(\s*{_ZERO}\s*[,)]|translate[xy3d]*\([^)]*{_FAR}).*"),
        ("clip", r"rect\((?:[\s,]*[01](?:px)?(?![\d.]))+\s*\)"),
        ("clip-path", r"inset\((?:50|[6-9]\d|100)%.*|circle\(\s*0(?:px|%)?[\s)].*"),
        ("filter", rf".*opacity\(\s*{_ZERO}\s*\).*"),
        ("color -webkit-text-fill-color", _CLEAR),
    )
    for name in names.split()
}


def hides(style: str) -> bool:
    """Whether any declaration hides the element, or what is in it: not drawn, transparent, tiny, cut away, off the screen, or of the
    colour of its own background. A page that says both is taken at its worst."""
    declared = [_declaration(part) for part in _plain(style).split(";")]
    declared = [(name, value) for name, value in declared if len(value) <= VALUE_CHARS_MAX]
    if any(name in _HIDING and _HIDING[name].fullmatch(value) for name, value in declared):
        return True
    last = dict(declared)
    background = last.get("background-color") or last.get("background", "")
    if background not in _OTHERS and background == last.get("color"):
        return True
    cuts = any(name.startswith("overflow") and value.startswith(("hidden", "clip")) for name, value in declared)
    sizes = [value for name, value in declared if name in {"width", "height", "max-width", "max-height"}]
    return cuts and any(re.fullmatch(_NARROW, value) for value in sizes)


def _plain(style: str) -> str:
    """Without comments and escapes, in which names can be written otherwise (CSS Syntax, section 4.3.7)."""
    return _ESCAPE.sub(_character, _COMMENT.sub("", style))


def _character(escaped: re.Match[str]) -> str:
    if escaped[1] is None:
        return escaped[2]
    point = int(escaped[1], 16)
    return chr(point) if 0 < point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"


def _declaration(part: str) -> tuple[str, str]:
    name, _, value = part.partition(":")
    value = value.lower().replace("!important", "")
    return name.strip().lower(), " ".join(value.split())
