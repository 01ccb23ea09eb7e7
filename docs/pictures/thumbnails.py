"""Thumbnails of the gallery, from pictures of studies that were run.

`python -m docs.pictures.thumbnails FOLDER … STUDY=PICTURE.png …`: of a study's folder the picture that bears
the study's name is taken. They go to docs/gallery/GROUP/STUDY.png, small enough to be committed.
"""

import io
import json
import sys
from pathlib import Path

from PIL import Image

from experiments.studies import STUDIES

GALLERY = Path(__file__).parents[1] / "gallery"
SIZE = (640, 400)  # at most, in pixels
COLORS = 64
MOST_BYTES = 60_000


def main(arguments: list[str]) -> None:
    for argument in arguments:
        name, _, picture = argument.rpartition("=")
        if not name:
            name = json.loads((Path(argument) / "study.json").read_text())["name"]
            picture = Path(argument) / f"{name}.png"
        out = GALLERY / group(name) / f"{name}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(thumbnail(Path(picture)))
        print(f"{out.relative_to(GALLERY.parents[1])}: {out.stat().st_size:,} bytes")


def group(name: str) -> str:
    """The folder of a study, as in experiments/studies."""
    module = STUDIES[name]
    return module.partition(".")[0] if module.startswith(("data.", "posttraining.", "trust.")) else "laws"


def thumbnail(picture: Path) -> bytes:
    """A small PNG with few colours; with fewer of them where it would be too large."""
    image = Image.open(picture).convert("RGB")
    image.thumbnail(SIZE, Image.Resampling.LANCZOS)
    for colors in (COLORS, COLORS // 2, COLORS // 4):
        file = io.BytesIO()
        image.quantize(colors).save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    raise ValueError(f"{picture}: {file.tell():,} bytes as a thumbnail; {MOST_BYTES:,} are allowed")


if __name__ == "__main__":
    main(sys.argv[1:])
