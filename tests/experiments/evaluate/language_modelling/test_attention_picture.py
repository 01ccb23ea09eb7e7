"""The picture of attention: its shades are the weights, and its labels what tokens say."""

import base64
import re
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

from experiments.evaluate.language_modelling.attention_picture import label, page, picture, png, shades


def images(svg: str) -> list[np.ndarray]:
    return [read(base64.b64decode(one)) for one in re.findall("base64,([A-Za-z0-9+/=]+)", svg)]


def read(png: bytes) -> np.ndarray:
    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT")
    [size] = struct.unpack(">I", png[start - 4 : start])
    rows = np.frombuffer(zlib.decompress(png[start + 4 : start + 4 + size]), np.uint8).reshape(height, -1)
    return rows[:, 1:].reshape(height, width, 3)


def test_every_map_and_routing_is_there_with_its_weights():
    rng = np.random.default_rng(0)
    attention, routing = rng.random((2, 3, 4, 4)), rng.random((2, 4, 5))
    svg = picture("<run>", ["a", "<b>", "&", "·"], attention, routing)
    root = ET.fromstring(svg)  # text is escaped
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[:4] == [*(f"layer 1, head {h}" for h in (1, 2, 3)), "layer 1: experts of each token"]
    assert len(titles) == 8
    for seen, weights in zip(
        images(svg), [*attention[0], routing[0], *attention[1], routing[1]], strict=True
    ):
        times = seen.shape[0] // weights.shape[0]
        np.testing.assert_array_equal(seen[::times, ::times], shades(weights))
    words = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("<b>") == 2 + 3 and "experts 1 to 5" in words  # of two layers' rows, three columns
    assert page("<run>", svg).count("<run>") == 0 and svg in page("x", svg)
    assert struct.unpack(">I", png(svg)[16:20]) == (2 * int(root.get("width")),)


def test_darker_is_more():
    grey = shades(np.linspace(0, 1, 50)).sum(axis=-1)
    assert (np.diff(grey.astype(int)) < 0).all()


@pytest.mark.parametrize(
    ("token", "said", "shown"),
    [(1, b"", "end"), (2, b"", "[2]"), (5, b" a\n", "·a↵"), (6, b"\xc3", "c3"), (7, b"\x01", "\\x01")],
)
def test_labels_can_be_read(token, said, shown):
    assert label(token, said, 1) == shown
