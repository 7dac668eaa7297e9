"""The text of a PDF: a program that reads the file from its standard input and writes its text, and nothing else.

It runs in a process of its own (`pdf_fetcher`), because a hostile PDF can keep every reader busy for as long as it likes, and
takes limits on itself before it looks at the file. It imports nothing of Vigil.
"""

import io
import logging
import resource
import sys

PAGES_MAX = 500
TEXT_CHARS_MAX = 2_000_000
CPU_SECONDS_MAX = 10
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
ENCRYPTED, UNREADABLE = 3, 4


def pdf_text(data: bytes) -> str:
    """The text of the first 500 pages, at most 2,000,000 characters; empty for pages that are pictures.

    Raises `PermissionError` when a password is needed, and whatever pypdf raises for a broken file.
    """
    import pypdf  # noqa: PLC0415  comes with the extra `pdf`

    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise PermissionError
    texts: list[str] = []
    room = TEXT_CHARS_MAX
    for number in range(min(PAGES_MAX, len(reader.pages))):
        text = reader.pages[number].extract_text()[:room].strip()
        texts.append(text)
        room -= len(text)
        if room <= 0:
            break
    return "\n".join(text for text in texts if text)


def _limit_this_process() -> None:
    """No files, little memory, few seconds of the processor. What the system does not offer (macOS: memory) is left out;
    whoever started this process bounds its time as well."""
    limits = (
        (resource.RLIMIT_CPU, CPU_SECONDS_MAX),
        (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
        (resource.RLIMIT_FSIZE, 0),
    )
    for limit, most in limits:
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):
            continue


def main() -> int:
    """Standard input to standard output; the exit code says why there is none."""
    _limit_this_process()
    logging.disable()
    try:
        text = pdf_text(sys.stdin.buffer.read())
    except PermissionError:
        return ENCRYPTED
    except Exception:  # noqa: BLE001  pypdf raises errors of many kinds for broken files; here all mean the same
        return UNREADABLE
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
