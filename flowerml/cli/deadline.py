"""`--deadline` of a campaign: a time of day, a date with a time, or a duration from now."""

import re
from datetime import datetime, timedelta

from flowerml.errors import UserError

_ALLOWED = (
    "HH:MM (today, or tomorrow where that is past), a date with a time such as 2031-05-20T08:00, or a duration such as"
    " 90m, 8h, 7h30m or 2d"
)
_DURATION = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?")


def parse_deadline(text: str, now: datetime) -> datetime:
    """The time that a text means, in the time zone of `now`.

    Raises:
        UserError: it is of no known form, or not in the future.
    """
    found = _clock_time(text, now) or _duration(text, now) or _date(text, now)
    if found is None:
        raise UserError(f"--deadline is {text!r}. Allowed: {_ALLOWED}")
    if found <= now:
        raise UserError(f"--deadline {text} is past: it is {now:%Y-%m-%d %H:%M} now. Allowed: {_ALLOWED}")
    return found


def _clock_time(text: str, now: datetime) -> datetime | None:
    if not (match := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)):
        return None
    today = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _duration(text: str, now: datetime) -> datetime | None:
    if not (text and (match := _DURATION.fullmatch(text))):
        return None
    days, hours, minutes = (int(part or 0) for part in match.groups())
    return now + timedelta(days=days, hours=hours, minutes=minutes)


def _date(text: str, now: datetime) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=now.tzinfo) if found.tzinfo is None else found.astimezone(now.tzinfo)
