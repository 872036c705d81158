"""Passwords, tokens and keys out of every text that is shown, logged or recorded.

`redact_secrets` is the one function for it. Error messages, log lines, tracebacks and events pass through it on their
own; text that leaves in another way (a report's command line) must be given to it.
"""

import re
from urllib.parse import unquote_plus

_MASK = "***"
_USERINFO = re.compile(r"://(?!USER@HOST)(?:[^/@\s]*|[^/@:\s]*:(?!\d+/)\S*)@")  # but not in our own examples
_WHOLE_USERINFO = re.compile(r"[^:/]+://((?:[^/@]*|[^/@:]*:(?!\d+/).*))@", re.DOTALL)  # may have spaces
_KEY = (
    r"[\w.-]*(?:password|passwd|passphrase|secret|token|credentials?|signature"
    r"|(?:access|api|account|private|secret)[_-]?key(?:[_-]?id)?)"
)
_QUERY = re.compile(rf"(?i)([?&;](?:{_KEY}|(?:[\w.-]*[_.-])?(?:pwd|pass|sig|key|auth))=)[^&\s]*")
_ASSIGNED = re.compile(rf"""(?i)(?<![\w.-])({_KEY}=)(?:'[^']*'|"[^"]*"|[^\s&,;'"]+)""")
_QUOTED = re.compile(rf"""(?i)((["']){_KEY}\2\s*:\s*)(?:'[^']*'|"[^"]*")""")
_HEADER = re.compile(r"""(?i)(authorization["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?)[^\s"',]+""")
_MIN_LENGTH, _MIN_TOKEN = 3, 16


def redact_secrets(text: str, *addresses: str) -> str:
    """Replace what is secret in `text` by `***`: users and passwords of addresses, and the values of secret keys.

    Keys are those of query strings, connection strings, dictionaries and HTTP headers. The secrets of `addresses` are
    replaced wherever they stand: libraries quote parts of an address that they can't read.
    """
    for address in addresses:
        for secret in _secrets_of(address):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _MASK, text)
    text = _USERINFO.sub(f"://{_MASK}@", text)
    for pattern in (_QUERY, _ASSIGNED, _QUOTED, _HEADER):
        text = pattern.sub(rf"\1{_MASK}", text)
    return text


def _secrets_of(address: str) -> list[str]:
    """The secrets of an address as it has them, decoded, and in the parts a parser may cut them into; longest first."""
    whole: set[str] = set()
    if found := _WHOLE_USERINFO.match(address):
        _, colon, password = found[1].partition(":")
        whole.add(password if colon else found[1] if len(found[1]) >= _MIN_TOKEN else "")
    for key, value in re.findall(r"[?&;]([\w.-]+)=([^&]*)", address):
        if re.fullmatch(_KEY, key, re.IGNORECASE):
            whole.add(value)
    parts = {part for secret in whole for part in (secret, *re.split(r"[/@:?#\s]", secret))}
    decoded = {unquote_plus(part) for part in parts}
    return sorted((part for part in parts | decoded if len(part) >= _MIN_LENGTH), key=len, reverse=True)
