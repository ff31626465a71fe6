"""Numbers as people read them."""

__all__ = ["bytes_text", "count_text", "counted", "rate_text"]


def bytes_text(count: int) -> str:
    """A number of bytes in binary units: `93.8 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def count_text(count: int) -> str:
    """A large number in decimal units: `134.5 M`; small ones as they are."""
    if count < 1000:
        return str(count)
    value = float(count)
    for unit in ("K", "M", "B", "T"):
        value /= 1000
        if value < 999.95 or unit == "T":
            break
    return f"{value:.1f} {unit}"


def counted(count: int, noun: str) -> str:
    """A number with what is counted: `1 part`, `12 parts`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def rate_text(count: int, seconds: float) -> str:
    """How many a second: `161.3/s`; `-` where that cannot be said."""
    return f"{count / seconds:.1f}/s" if count > 0 and seconds > 0 else "-"
