"""A visible word in a picture's corner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]

HEIGHT, LEAST = 0.035, 9  # of the letters: a share of the picture's longer side, pixels at least
PAPER, INK = 0.35, 0.9  # how much of the picture goes below the word's ground, and how white the word is


class Label:
    """Draws a word at the lower left; made once for pictures of one size."""

    def __init__(self, word: str) -> None:
        self.word = word
        self._drawn: dict[tuple[int, int], NDArray[np.floating]] = {}

    def __call__(self, picture: Picture) -> Picture:
        """A copy of the picture with the word on a darkened ground."""
        drawn = self._of(picture.shape[0], picture.shape[1])
        height, width = drawn.shape[:2]
        made = picture.copy()
        place = made[-height:, :width]
        place[...] = ((1 - drawn) * (PAPER * place) + drawn * 255 * INK).round()
        return made

    def _of(self, height: int, width: int) -> NDArray[np.floating]:
        """The word's share of each pixel, (h, w, 1)."""
        if (height, width) not in self._drawn:
            size = max(round(HEIGHT * max(height, width)), LEAST)
            font = ImageFont.load_default(size)
            left, top, right, bottom = font.getbbox(self.word)
            edge = max(size // 4, 2)
            box = (round(right - left) + 2 * edge, round(bottom - top) + 2 * edge)
            image = Image.new("L", box)
            ImageDraw.Draw(image).text((edge - left, edge - top), self.word, fill=255, font=font)
            self._drawn[height, width] = np.asarray(image, np.float32)[:height, :width, None] / 255
        return self._drawn[height, width]
