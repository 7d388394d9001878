"""The short cut for sparse masks against Pillow, with every PNG filter in every row."""

import io
import struct
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucdet.data.io.sparse_png import decode_window


def filtered_row(kind: int, row: np.ndarray, above: np.ndarray) -> bytes:
    """PNG specification, section 9.2, for one byte a pixel."""
    left = np.concatenate([[0], row[:-1]])
    above_left = np.concatenate([[0], above[:-1]])
    estimate = left + above - above_left
    distances = np.abs(estimate - np.stack([left, above, above_left]))
    paeth = np.choose(distances.argmin(0), [left, above, above_left])
    prediction = (0 * row, left, above, (left + above) // 2, paeth)[kind]
    return bytes([kind]) + ((row - prediction) % 256).astype(np.uint8).tobytes()


def as_png(image: np.ndarray, kinds: list[int]) -> bytes:
    rows = np.concatenate([np.zeros_like(image[:1]), image]).astype(int)
    raw = b"".join(filtered_row(k, rows[i + 1], rows[i]) for i, k in enumerate(kinds))
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + body))
        data += struct.pack(">I", len(body)) + name + body + checksum
    return data


@st.composite
def images(draw):
    """A small image with one block of any values, anywhere, and a filter for each row."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    h, w = draw(st.integers(0, height - y)), draw(st.integers(0, width - x))
    image = np.zeros((height, width), np.uint8)
    values = draw(st.lists(st.sampled_from([0, 1, 128, 255]), min_size=h * w, max_size=h * w))
    image[y : y + h, x : x + w] = np.array(values, np.uint8).reshape(h, w)
    return image, draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))


@settings(deadline=None, max_examples=200)
@given(images())
def test_same_pixels_as_pillow_or_no_answer(pixels):
    image, kinds = pixels
    data = as_png(image, kinds)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    found = decode_window(data)
    if found is not None:
        (y, x), window, size = found
        whole = np.zeros(size, np.uint8)
        whole[y : y + window.shape[0], x : x + window.shape[1]] = window
        np.testing.assert_array_equal(whole, image)


def test_it_answers_for_a_nucleus_inside_the_image():
    image = np.zeros((20, 30), np.uint8)
    image[4:9, 10:15] = 255
    for kind in range(5):
        (y, x), window, size = decode_window(as_png(image, [kind] * 20))
        assert size == (20, 30) and y <= 4 and x <= 10 and window.size < 100


def test_no_answer_for_damaged_or_other_files():
    image = np.zeros((20, 30), np.uint8)
    image[4:9, 10:15] = 255
    data = as_png(image, [1] * 20)
    for cut in (0, 4, 20, len(data) // 2, len(data) - 4):
        assert decode_window(data[:cut]) is None
    changed = bytearray(data)
    changed[50] ^= 1
    assert decode_window(bytes(changed)) is None
    assert decode_window(as_png(image, [1] * 19)) is None  # a row short
    colored = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(colored, "PNG")
    assert decode_window(colored.getvalue()) is None
    assert decode_window(b"II*\0 a TIFF") is None
