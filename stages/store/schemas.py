"""Schemas of the Parquet tables of the data stages; those of the measurements stand in :mod:`stages.scoring.columns`.

Each column's meaning and unit stands in its field's metadata and so in the file itself; ``docs/output.md`` is generated from it.
Frames T, landmarks L = 68, mel bins M.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = "1"


def field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A column, with its meaning and unit in its metadata."""
    return pa.field(name, kind, metadata={"meaning": meaning})


def schema(name: str, *fields: pa.Field) -> pa.Schema:
    """A table of this name, of the present version."""
    return pa.schema(fields, metadata={"table": name, "version": VERSION})


FACES = schema(
    "faces",
    field("clip", pa.string(), "name of the clip"),
    field("segment", pa.int32(), "number of the segment in its clip, from 0"),
    field("status", pa.string(), "'ok', or why the clip can't be used (then the lists are empty)"),
    field("fps", pa.float32(), "frames per second of the time base"),
    field("part_of", pa.string(), "the file's own name in the shard's tar; the clip's, unless mask.cut parted it"),
    field("first", pa.int32(), "frame of the file, on the clip's time base, that is the clip's first"),
    field("after", pa.int32(), "the first after the clip; 0 where the file can't be decoded"),
    field("start", pa.int32(), "frame number in the clip of the segment's first frame"),
    field("frames", pa.list_(pa.binary()), "T JPEG pictures of the crop, size x size, RGB"),
    field("landmarks", pa.list_(pa.float32()), "T x 68 x 2 (x, y), pixels of the crop, row-major"),
    field("detected", pa.list_(pa.bool_()), "T; false where the landmarks were interpolated"),
    field(
        "crop", pa.list_(pa.float32()), "x, y of the upper left corner and the side, source pixels (one crop a clip)"
    ),
    field("rotation", pa.int32(), "degrees the source was turned by, as its display matrix says"),
    field(
        "faces_seen",
        pa.int32(),
        "largest number of faces detected in one whole frame, small ones only where there is no larger one; "
        "the largest is followed",
    ),
)

TRUTH = schema(
    "truth",
    field("clip", pa.string(), "name of the clip"),
    field("time_s", pa.list_(pa.float64()), "T; timestamp of each source frame, seconds"),
    field("mouth_open", pa.list_(pa.float32()), "T; gap between the inner lips, 0 closed to 1 widest"),
    field("jaw_open", pa.list_(pa.float32()), "T; 0 closed to 1 widest"),
    field("eyelid_left", pa.list_(pa.float32()), "T; the subject's left eye, 0 closed to 1 open"),
    field("eyelid_right", pa.list_(pa.float32()), "T; the right eye"),
    field("yaw", pa.list_(pa.float32()), "T; degrees, positive to the picture's right"),
    field("pitch", pa.list_(pa.float32()), "T; degrees, positive down"),
    field("roll", pa.list_(pa.float32()), "T; degrees, positive clockwise"),
)

BLINK = schema(
    "blink",
    field("clip", pa.string(), "name of the clip"),
    field(
        "ear_left",
        pa.list_(pa.float32()),
        "T; eye aspect ratio of the subject's left eye (landmarks 43-48), all segments joined",
    ),
    field("ear_right", pa.list_(pa.float32()), "T; of the right eye (landmarks 37-42)"),
    field("open_ear", pa.float32(), "EAR of the open eyes: the percentile blink.open_percentile of both eyes' mean"),
    field("speaker_open", pa.float32(), "EAR of the speaker's open eyes: the median of all clips' open_ear"),
    field(
        "speaker_shut", pa.float32(), "of the shut eyes: the median of all blinks' least, drawn towards 0.4 open ones"
    ),
    field("blink_start", pa.list_(pa.int32()), "first frame of each blink"),
    field("blink_end", pa.list_(pa.int32()), "first frame after it"),
)

SPECTROGRAM = schema(
    "spectrogram",
    field("clip", pa.string(), "name of the clip"),
    field("status", pa.string(), "'ok', or why there is no usable audio"),
    field(
        "mel",
        pa.list_(pa.float32()),
        "S x 80, row-major, 80 steps a second, in [-4, 4], rounded to multiples of 1/1024",
    ),
    field("audio", pa.binary(), "16 kHz mono, signed 16-bit little endian, on the video's time base"),
)

INDEX = schema(
    "index",
    field("clip", pa.string(), "name of the clip"),
    field("shard", pa.string(), "file that holds it in each data stage"),
    field("speaker", pa.string(), "who speaks"),
    field("sentence", pa.string(), "what is said; empty where unknown"),
    field("emotion", pa.string(), "empty where unknown"),
    field("level", pa.string(), "of the emotion; empty where unknown"),
    field("source", pa.string(), "where the media came from"),
    field("sha256", pa.string(), "of the media file"),
    field(
        "shard_sha256",
        pa.string(),
        "of the shard's files in raw, faces, blink and spectrogram: changes with any of them",
    ),
    field(
        "split",
        pa.string(),
        "train, validation, test_seen, test_unseen, test_long, held_out (of the test's kind, not drawn) or out",
    ),
    field("status", pa.string(), "'ok', or why the clip is left out"),
    field("start_s", pa.float64(), "of the clip in its media file, seconds"),
    field("end_s", pa.float64(), "its end there; 0 where the file can't be decoded"),
    field("frames", pa.int32(), "frames at mask.fps"),
    field("blinks", pa.int32(), "blinks found by the blink stage"),
    field("open_ear", pa.float32(), "EAR of the open eyes"),
)
