"""The attention of a network to a prompt as a picture: a map a layer and head, and where experts are, the
routing of its tokens beside them. Written as SVG, which a page holds and a PNG is made of."""

import base64
import html
import struct
import zlib
from collections.abc import Sequence

import numpy as np

WIDTH = 1100  # CSS pixels of the maps of a layer, as far as panels are neither small nor huge
PANEL = (84, 300)
GAP, LETTER = 14, 6.2  # between panels; width of a letter of a token's label
LABELLED = 7  # pixels of a row from which its token can be read
SHADES = np.array([[250, 250, 248], [120, 160, 200], [12, 44, 92]], float)  # of weights 0, ¼ and 1
LEGEND = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)


def picture(
    name: str, labels: Sequence[str], attention_LHTS: np.ndarray, routing_LTE: np.ndarray | None = None
) -> str:
    """The SVG.

    Args:
      name: of the network, for the title.
      labels: of the tokens [T].
      attention_LHTS: weights of layers and heads.
      routing_LTE: weights of experts; None without them.
    """
    n_layers, n_heads, n = attention_LHTS.shape[:3]
    side = min(max(WIDTH / n_heads - GAP, PANEL[0]), PANEL[1])
    labelled = side / n >= LABELLED
    margin = 12 + (LETTER * max(map(len, labels)) if labelled else 0)
    left, top = 64 + margin, 96 + (margin if labelled else 0)
    parts, size = [], min(11.0, side / n)
    for i in range(n_layers):
        y = top + i * (side + GAP)
        parts.append(_text(12, y + side / 2, f"layer {i + 1}", 12))
        for h in range(n_heads):
            x = left + h * (side + GAP)
            parts.append(_map(x, y, side, side, attention_LHTS[i, h], f"layer {i + 1}, head {h + 1}"))
        if routing_LTE is not None:
            x, wide = left + n_heads * (side + GAP) + GAP, _routing_width(routing_LTE, side)
            parts.append(_map(x, y, wide, side, routing_LTE[i], f"layer {i + 1}: experts of each token"))
        if labelled:
            at = [y + (t + 0.5) * side / n + size / 3 for t in range(n)]
            parts += [_text(left - 6, down, label, size, "end") for down, label in zip(at, labels)]
    for h in range(n_heads):
        x = left + h * (side + GAP)
        parts.append(_text(x, top - (margin if labelled else 0) - 6, f"head {h + 1}", 12))
        if labelled:
            at = [x + (t + 0.5) * side / n + size / 3 for t in range(n)]
            parts += [_text(along, top - 6, label, size, turned=True) for along, label in zip(at, labels)]
    right = left + n_heads * (side + GAP)
    if routing_LTE is not None:
        parts.append(_text(right + GAP, top - 6, f"experts 1 to {routing_LTE.shape[2]}", 12))
        right += GAP + _routing_width(routing_LTE, side)
    width, height = max(right, 640) + GAP, top + n_layers * (side + GAP)
    title = f"{name}: attention in {n_layers} layers of {n_heads} heads, {n} tokens"
    about = "A row is a token that reads, a column one that it reads from, both in the order of the text."
    head = [_text(12, 26, title, 17), _text(12, 46, about, 12), *_legend(12, 58)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" fill="#222">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(head + parts)}</svg>'
    )


def page(name: str, svg: str) -> str:
    """The picture as a page; the name of a map appears under the pointer."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(name)}: attention</title><body style='margin:0'>{svg}</body></html>\n"
    )


def png(svg: str) -> bytes:
    """The picture at twice its size."""
    import vl_convert

    return vl_convert.svg_to_png(svg, scale=2)


def label(token: int, said: bytes, eos_id: int) -> str:
    """A token as it can be read: spaces and line ends by signs, bytes that are no text by their numbers."""
    if not said:
        return "end" if token == eos_id else f"[{token}]"
    try:
        text = said.decode()
    except UnicodeDecodeError:
        return said.hex()
    signs = {" ": "·", "\n": "↵", "\t": "→"}
    return "".join(signs.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in text)


def _routing_width(routing_LTE: np.ndarray, side: float) -> float:
    return min(side, max(48.0, 10.0 * routing_LTE.shape[2]))


def _map(x: float, y: float, width: float, height: float, weights_TS: np.ndarray, name: str) -> str:
    """An image of the weights with a frame.

    Args:
      x, y, width, height: CSS pixels.
      weights_TS: from 0 to 1.
      name: under the pointer.
    """
    content = base64.b64encode(_image(shades(weights_TS))).decode()
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return (
        f'<g><title>{name}</title><image {place} preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{content}"/>'
        f'<rect {place} fill="none" stroke="#bbb" stroke-width="0.5"/></g>'
    )


def shades(weights: np.ndarray) -> np.ndarray:
    """Colours uint8 [..., 3] by the root of a weight, so that small ones are seen."""
    root = np.sqrt(np.clip(weights, 0, 1))
    channels = [np.interp(root, (0, 0.5, 1), SHADES[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _image(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [height, width, 3], each pixel several wide, as not every viewer leaves them sharp."""
    times = max(1, 512 // max(pixels.shape[:2]))
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


def _text(x: float, y: float, text: str, size: float, anchor: str = "start", *, turned: bool = False) -> str:
    place = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"' if turned else f'x="{x:.1f}" y="{y:.1f}"'
    return f'<text {place} font-size="{size:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _legend(x: float, y: float) -> list[str]:
    parts = [_text(x, y + 11, "weight", 11)]
    for i, weight in enumerate(LEGEND):
        left = x + 46 + i * 62
        r, g, b = shades(np.array(weight)).tolist()
        parts.append(
            f'<rect x="{left}" y="{y}" width="16" height="14" fill="rgb({r},{g},{b})" stroke="#bbb"/>'
        )
        parts.append(_text(left + 21, y + 11, f"{weight:g}", 11))
    return parts
