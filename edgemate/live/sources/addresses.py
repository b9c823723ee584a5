"""Network addresses as they may be shown."""

from __future__ import annotations


def without_password(text: str) -> str:
    """A text without what a URL in it says of a user and a password, which do not belong into messages and logs.

    FFmpeg takes all up to the last @ for them, also where nobody has escaped an @ or a / in the password. So
    `rtsp://host:554/cam@1` may be either, and loses its host here.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        return text
    secret, at, shown = rest.rpartition("@")
    if at and ":" not in secret and "/" in secret:  # a host, and an @ in its path
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return f"{scheme}://{shown}"
