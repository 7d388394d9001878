"""Decodes PNG masks that are mostly zero several times faster than a PNG library.

DSB2018's training set has 7.3 billion mask pixels, nearly all zero, in 28,986 files; decompressing
them with zlib takes most of the time of a conversion. zlib-ng decompresses such data 17 times as
fast, and its output need not be unfiltered where it is zero: every PNG filter (PNG specification,
section 9, https://www.w3.org/TR/png-3/#9Filters) predicts zero from zeros. So only the window
around the nucleus is unfiltered, by wrapping it as a PNG of its own.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import imagecodecs
import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_8_BIT = (8, 0, 0, 0, 0)  # depth, color type, compression, filter method, interlace
_LAST_FILTER = 4  # Paeth


def decode_window(data: bytes) -> tuple[tuple[int, int], np.ndarray, tuple[int, int]] | None:
    """Decode an 8-bit grey PNG that is zero outside of one window.

    Args:
        data: the file's content.

    Returns:
        (y0, x0) of the window, a uint8 window (h, w) that contains all nonzero pixels, and (H, W)
        of the image. None if the file has another format, is damaged or has too few zeros; an
        ordinary decoder must then read it.
    """
    try:
        (height, width, *layout), packed = _read_chunks(data)
        if tuple(layout) != _GREY_8_BIT:
            return None
        raw = imagecodecs.zlibng_decode(packed, out=height * (width + 1))
        rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    # for a damaged file, any of these steps may raise nearly anything
    except Exception:
        return None
    if rows[:, 0].max() > _LAST_FILTER:
        return None
    x, y, w, h = cv2.boundingRect(rows[:, 1:])
    if w == 0:
        return (0, 0), np.zeros((0, 0), np.uint8), (height, width)
    # one more column and row: if they decode to zero, so does everything beyond them
    w, h = min(w + 1, width - x), min(h + 1, height - y)
    filtered = np.column_stack([rows[y : y + h, 0], rows[y : y + h, 1 + x : 1 + x + w]])
    window = cv2.imdecode(np.frombuffer(_wrap(filtered), np.uint8), cv2.IMREAD_UNCHANGED)
    if window is None:
        return None
    goes_on_right = x + w < width and window[:, -1].any()
    goes_on_below = y + h < height and window[-1].any()
    return None if goes_on_right or goes_on_below else ((y, x), window, (height, width))


def _read_chunks(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """Height, width and the rest of IHDR, and the joined IDAT chunks; checksums are verified."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("no PNG")
    position, kind, header, packed = len(_SIGNATURE), b"", b"", []
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(body, zlib.crc32(kind)) != checksum:
            raise ValueError("bad checksum")
        position += length + 12
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed.append(body)
    width, height, *layout = struct.unpack(">IIBBBBB", header)
    return (height, width, *layout), b"".join(packed)


def _wrap(filtered: np.ndarray) -> bytes:
    """A PNG of filtered rows, (h, 1 + w) uint8, where each begins with the number of its filter."""
    height, width = filtered.shape
    header = struct.pack(">IIBBBBB", width - 1, height, *_GREY_8_BIT)
    stored = zlib.compress(filtered.tobytes(), 0)
    chunks = ((b"IHDR", header), (b"IDAT", stored), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
