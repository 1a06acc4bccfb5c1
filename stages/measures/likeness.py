"""Are face and place right? Landmark distance (LMD) and similarity of identity (CSIM) between a video and its truth. T frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.faces.geometry import MOUTH, inter_ocular

Array = NDArray[np.float64]
Values = NDArray[np.floating]

SAME = 0.6  # dlib: two pictures of one person have descriptors closer than this


def landmark_distance(made_TL2: Values, true_TL2: Values) -> dict[str, Array]:
    """Mean distance of the 68 points, and of the mouth's 20, (T,) each; NaN where either video shows no face.

    ``lmd`` and ``lmd_mouth`` are in inter-ocular distances of the true face, so that they don't depend on the video's size;
    ``lmd_px`` and ``lmd_mouth_px`` in pixels. The name is Chen et al.'s (2018, Lip Movements Generation at a Glance); here
    neither set is moved onto the other, so that a head in the wrong place counts.
    """
    count = min(len(made_TL2), len(true_TL2))
    made, true = np.asarray(made_TL2[:count], np.float64), np.asarray(true_TL2[:count], np.float64)
    apart = np.linalg.norm(made - true, axis=-1)
    whole, mouth, scale = apart.mean(1), apart[:, MOUTH].mean(1), np.maximum(inter_ocular(true), 1e-6)
    return {"lmd": whole / scale, "lmd_mouth": mouth / scale, "lmd_px": whole, "lmd_mouth_px": mouth}


def identity(made_KD: Values, true_KD: Values) -> dict[str, Array]:
    """The likeness of the person, from the descriptors of the same frames of both videos, (K,) each.

    ``csim`` is the cosine to the true frame's descriptor, ``csim_reference`` that to the true video's first frame, which the
    generator is shown; NaN where a face was not found. ``same_person`` is 1 where the distance to the true frame's is at most
    :data:`SAME`, 0 where it is more or the video shows no face, NaN where the truth shows none.
    """
    count = min(len(made_KD), len(true_KD))
    made, true = np.asarray(made_KD[:count], np.float64), np.asarray(true_KD[:count], np.float64)
    near = np.linalg.norm(made - true, axis=1) <= SAME  # no face: not near
    known = np.isfinite(true).all(1)
    return {
        "csim": _cosine(made, true),
        "csim_reference": _cosine(made, true[:1]),
        "same_person": np.where(known, near * 1.0, np.nan),
    }


def _cosine(a_KD: Array, b_KD: Array) -> Array:
    length = np.linalg.norm(a_KD, axis=1) * np.linalg.norm(b_KD, axis=1)
    return np.asarray((a_KD * b_KD).sum(1) / np.maximum(length, 1e-12))
