"""What clients of FIRE need that others of the MRD protocol do not."""

from __future__ import annotations

from dataclasses import replace

from echotrain.mrd import Image


def directed(image: Image) -> Image:
    """An image with the attributes that FIRE needs, as where it came from a client without them."""
    row, column = (image.head[name].tolist() for name in ("read_dir", "phase_dir"))
    return replace(image, meta={**image.meta, "ImageRowDir": row, "ImageColumnDir": column})


def levelled(text: str) -> str:
    """A text for FIRE: its level in eight characters, and a NUL that is counted."""
    for word in ("warning", "error"):
        if text.startswith(f"{word}: "):
            return f"{word.upper():<8} {text.removeprefix(f'{word}: ')}\0"
    return f"{'INFO':<8} {text}\0"
