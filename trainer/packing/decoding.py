"""One encoded image to the square of pixels that is kept of it."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.packing.sources.listing import Payload

ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
UPRIGHT: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DRAFT = 2  # a JPEG is decoded at an eighth, a quarter or half of its size where that leaves this many times the pixels a side


def decode(payload: Payload, size: int) -> tuple[NDArray[np.uint8], bool]:
    """The upright image as uint8 (3, size, size) – its centre, the short side resized – and whether it was smaller than that.

    Bicubic with antialias. ValueError with the reason for what is no whole image.
    """
    if isinstance(payload, np.ndarray):
        image, small = Image.fromarray(np.ascontiguousarray(payload.transpose(1, 2, 0))), min(payload.shape[1:]) < size
        return (payload if payload.shape[1:] == (size, size) else _pixels(_centre(image, size))), small
    try:
        if isinstance(payload, OSError):
            raise payload
        with Image.open(io.BytesIO(payload)) as image:
            small = min(image.size) < size
            turn = UPRIGHT.get(_orientation(image))
            image.draft(None, (DRAFT * size, DRAFT * size))
            square = _centre(_rgb(image), size)
            return _pixels(square if turn is None else square.transpose(turn)), small
    except MemoryError:
        raise  # no fault of the image
    except Exception as error:  # damage reaches every part of a decoder, and each part has errors of its own
        raise ValueError(_reason(error)) from None


def _centre(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip what is above 255, not scale it
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range; save it with 8 or 16 bits a channel")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1  # a damaged note beside pixels that may be whole


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "no image in a known format" if text.startswith("cannot identify image file") else text
