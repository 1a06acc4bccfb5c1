"""A method's videos of the test clips, each with the clip itself and the one whose audio was given. T frames, H, W."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages import corpus, landmarks, media
from stages.corpus import Clip
from stages.errors import ClipError, InputError
from stages.geometry import ear, mouth_opening
from stages.params import Params

RAW_TRUTH = "truth.parquet"
SMOOTH, SHIFT = 7, 0.03  # frames that a box is averaged over; share of its side that boxes are shifted by


@dataclass(frozen=True)
class Video:
    """One video to score. ``clip`` is the truth at the video's size; ``sound`` the clip whose audio was given."""

    split: str
    speaker: str
    sentence: str
    emotion: str
    level: str
    clip: Clip
    sound: Clip
    frames_THWC: NDArray[np.uint8]
    mouth_own: NDArray[np.float32]  # opening of the clip itself: the rendered truth where there is one, else dlib's
    mouth_given: NDArray[np.float32]  # of the clip whose audio was given

    @property
    def other_audio(self) -> bool:
        """Whether another clip's audio was given."""
        return self.sound.name != self.clip.name


@dataclass(frozen=True)
class Face:
    """What dlib measures on a video: (T,) each, NaN where it finds no face."""

    ear_T: NDArray[np.float64]  # mean of both eyes
    mouth_T: NDArray[np.float64]
    detected_T: NDArray[np.bool_]


def read(data: Path, method: str, settings: Params) -> list[Video]:
    """All videos of a method, in order of clip.

    Raises:
        InputError: a video is missing, damaged, or of another length or size than its clip's.
    """
    splits = settings.methods[method].splits
    tests = corpus.index(data, splits).set_index("clip")
    if tests.empty:
        raise InputError(
            data / "index.parquet", f"no clip of {', '.join(splits)}", "see index.* and methods.*.splits in params.yaml"
        )
    size, fps, most = settings.network.size, settings.mask.fps, settings.sampling(method).frames
    shards = dict(zip(tests.index.astype(str), tests["shard"].astype(str), strict=True))
    clips = {
        name: corpus.load(data, shard, name, size=size, dilation=settings.mask.dilation, stream=True).head(most)
        for name, shard in shards.items()
    }
    mouths = {name: mouth_truth(data / "raw" / f"{shards[name]}.tar", clip, fps) for name, clip in clips.items()}
    videos = []
    for name in sorted(clips):
        clip = clips[name]
        row = tests.loc[name]
        path = data / "samples" / method / f"{row['shard']}.tar"
        listing = {entry["clip"]: entry for entry in media.tar_json(path)}
        if name not in listing:
            raise InputError(path, f"no video of {name}", "delete it and run 'snakemake --cores all'")
        frames = _frames(path, name, fps, clip.frames_THWC.shape)
        given = listing[name]["audio_clip"]
        facts = {key: str(row[key]) for key in ("split", "speaker", "sentence", "emotion", "level")}
        videos.append(
            Video(
                **facts,
                clip=clip,
                sound=clips[given],
                frames_THWC=frames,
                mouth_own=mouths[name],
                mouth_given=mouths[given],
            )
        )
    return videos


def _frames(path: Path, clip: str, fps: float, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        frames = media.decode(media.read_tar_member(path, f"{clip}.mp4"), fps=fps, clip=clip)
    except ClipError as error:
        raise InputError(path, str(error), "delete it and run 'snakemake --cores all'") from None
    if frames.shape != shape:
        problem = f"the video of {clip} is {frames.shape} (frames, height, width, colours), its clip {shape}"
        raise InputError(path, problem, "delete it and run 'snakemake --cores all'")
    return frames


def mouth_truth(raw: Path, clip: Clip, fps: float) -> NDArray[np.float32]:
    """The clip's mouth opening on the time base k/fps, (T,): as it was rendered (0 … 1), else as dlib measures it."""
    if RAW_TRUTH in media.tar_names(raw):
        table = pq.read_table(
            io.BytesIO(media.read_tar_member(raw, RAW_TRUTH)), columns=["clip", "time_s", "mouth_open"]
        )
        for row in table.to_pylist():
            if row["clip"] == clip.name:
                times = np.arange(len(clip.frames_THWC)) / fps
                return np.interp(times, row["time_s"], row["mouth_open"]).astype(np.float32)
    return mouth_opening(clip.landmarks_TL2).astype(np.float32)


def measure(frames_THWC: NDArray[np.uint8], upscale: int) -> Face:
    """Eyes and mouth by dlib on every frame, enlarged ``upscale`` times (cubic); each frame is detected afresh.

    The detector's boxes lie on a coarse grid, and the landmarks follow the box by more than a lid moves. So the boxes are
    smoothed over seven frames and the landmarks averaged over three boxes, shifted by 3 % of a side (five are no better).
    On true frames this took the correlation with the eyes' EAR at full resolution from 0.79 to 0.84, the mouth's from 0.87
    to 0.89.
    """
    height, width = (upscale * side for side in frames_THWC.shape[1:3])
    count = len(frames_THWC)

    def large(t: int) -> NDArray[np.uint8]:  # made twice and not kept: a clip of two minutes would take half a gigabyte
        return cv2.resize(frames_THWC[t], (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)

    faces = [landmarks.detect(large(t)) for t in range(count)]
    detected = np.array([bool(found) for found in faces])
    points = np.full((count, 68, 2), np.nan)
    if detected.any():
        boxes = _smooth(np.stack([found[0][1] for found in faces if found]), np.flatnonzero(detected), count)
        for t in np.flatnonzero(detected):
            points[t] = _steady_landmarks(large(int(t)), boxes[t])
    return Face(np.asarray(ear(points).mean(1)), np.asarray(mouth_opening(points)), detected)


def _smooth(boxes_N4: NDArray[np.float64], known_N: NDArray[np.intp], frames: int) -> NDArray[np.float64]:
    """Boxes of all frames, (frames, 4): interpolated where unknown, the moving average of SMOOTH frames."""
    filled = np.stack([np.interp(np.arange(frames), known_N, side) for side in boxes_N4.T])
    padded = np.pad(filled, ((0, 0), (SMOOTH // 2, SMOOTH // 2)), mode="edge")
    return np.stack([np.convolve(side, np.full(SMOOTH, 1 / SMOOTH), "valid") for side in padded], -1)


def _steady_landmarks(image: NDArray[np.uint8], box_4: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the landmarks (68, 2) found in three boxes around the given one."""
    gray, step = landmarks.luma(image), SHIFT * (box_4[2] - box_4[0])
    shifts = [(step, 0.0), (-step / 2, step * 0.75**0.5), (-step / 2, -step * 0.75**0.5)]
    return np.mean([landmarks.landmarks(gray, box_4 + np.array([x, y, x, y])) for x, y in shifts], 0)


def pictures(videos: Sequence[Video], folder: Path, moments: int = 6) -> list[Path]:
    """Write a PNG a video into ``folder``: some frames of it below the same frames of the truth."""
    paths = []
    for video in videos:
        numbers = np.linspace(0, len(video.frames_THWC) - 1, moments).round().astype(int)
        rows = [np.concatenate(list(frames[numbers]), 1) for frames in (video.clip.frames_THWC, video.frames_THWC)]
        paths.append(folder / f"{video.clip.name}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    return paths


def another(videos: Sequence[Video], index: int) -> Clip | None:
    """A test clip whose audio was not given to video ``index``: the next of another speaker and sentence; None if none is."""
    own = videos[index]
    ring = [videos[(index + step) % len(videos)] for step in range(1, len(videos))]
    for video in ring:
        if video.speaker != own.speaker and video.sentence != own.sentence and video.clip.name != own.sound.name:
            return video.clip
    return None
