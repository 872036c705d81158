"""Durations and sizes as text."""


def duration(seconds: float) -> str:
    """Seconds as text: `45 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def amount(size: float) -> str:
    """A size in bytes as text: `512 B`, `228.8 MB`, `1.3 GB` (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if size < 999.95 or (unit == "B" and size < 1000):
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
