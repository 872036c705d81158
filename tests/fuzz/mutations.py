"""Damaged inputs, drawn by hypothesis: bytes changed anywhere, and files whose parts are exchanged but well-formed."""

import struct
import zlib

from hypothesis import strategies as st

_INTERESTING = (b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80\x00", b"../")
_MAX_CHANGES = 6


@st.composite
def changed(draw, seeds: list[bytes]) -> bytes:
    """One of `seeds` with up to six changes: bytes set, cut out, doubled, put in; cut off."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, _MAX_CHANGES))):
        size = len(data)
        place = draw(st.integers(0, size))
        kind = draw(st.sampled_from(("set", "cut", "double", "insert", "end")))
        if kind == "set" and place < size:
            data[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 64))]
        elif kind == "double":
            data[place:place] = data[place : place + draw(st.integers(1, 256))]
        elif kind == "insert":
            data[place:place] = draw(st.sampled_from(_INTERESTING) | st.binary(max_size=16))
        elif kind == "end":
            del data[place:]
    return bytes(data)


@st.composite
def rearranged(draw, seeds: list[list[bytes]]) -> bytes:
    """A file of the parts of one of `seeds` (well-formed ones): some left out, doubled, moved, changed inside."""
    parts = [*draw(st.sampled_from(seeds))]
    for _ in range(draw(st.integers(0, _MAX_CHANGES))):
        if not parts:
            break
        place = draw(st.integers(0, len(parts) - 1))
        kind = draw(st.sampled_from(("drop", "double", "move", "change", "other")))
        if kind == "drop":
            del parts[place]
        elif kind == "double":
            parts.insert(place, parts[place])
        elif kind == "move":
            parts.insert(draw(st.integers(0, len(parts) - 1)), parts.pop(place))
        elif kind == "change":
            parts[place] = draw(changed([parts[place]]))
        else:
            parts.insert(place, draw(st.sampled_from(draw(st.sampled_from(seeds)))))
    return b"".join(parts)


def png_parts(data: bytes) -> list[bytes]:
    """The signature, then chunk by chunk."""
    parts, place = [data[:8]], 8
    while place < len(data):
        size = 12 + struct.unpack(">I", data[place : place + 4])[0]
        parts.append(data[place : place + size])
        place += size
    return parts


@st.composite
def png_files(draw, seeds: list[bytes]) -> bytes:
    """PNG chunks rearranged, with new content and a checksum that fits it: decoders look past the checksum."""
    parts = [*png_parts(draw(st.sampled_from(seeds)))]
    for _ in range(draw(st.integers(1, _MAX_CHANGES))):
        place = draw(st.integers(1, len(parts) - 1))
        kind = draw(st.sampled_from((b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"tEXt", b"gAMA", b"acTL")))
        old = parts[place][8:-4]
        body = kind + draw(changed([old]) | st.binary(max_size=32))
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        if draw(st.booleans()):
            parts[place] = chunk
        else:
            parts.insert(place, chunk)
    return b"".join(parts)


def jpeg_parts(data: bytes) -> list[bytes]:
    """Marker by marker up to the scan, which is one part."""
    parts, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place + 1] != 0xDA:
        size = 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
        parts.append(data[place : place + size])
        place += size
    return [*parts, data[place:]]
