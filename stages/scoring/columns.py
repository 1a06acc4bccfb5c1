"""Schemas of what is measured and scored: the tables ``reference``, ``features``, ``metrics`` and ``breakdown``.

What they hold of each trace and each metric follows from the lists :data:`TRACES` and :data:`METRICS`.
"""

from __future__ import annotations

import pyarrow as pa

from stages.measures.traces import TRACES
from stages.scoring.catalogue import METRICS
from stages.store.schemas import field, schema

# What is measured on any video, made or true, by stages.scoring.observer.
_OF_VIDEO = (
    field("frame_features", pa.list_(pa.float32()), "T x E, row-major, of whole frames"),
    field("mask_features", pa.list_(pa.float32()), "T x E, of the hull of the face alone"),
    field("video_features", pa.list_(pa.float32()), "N x E, of windows of 8 frames, 4 apart"),
    field("landmarks", pa.list_(pa.float32()), "T x 68 x 2 (x, y), pixels, by dlib on the enlarged frames; else NaN"),
    field("detected", pa.list_(pa.bool_()), "T; whether dlib finds a face"),
    field(
        "identity", pa.list_(pa.float32()), "K x 128, dlib's descriptors of frames 0, 10, 20, ...; NaN without a face"
    ),
    field("program_ear", pa.list_(pa.float32()), "T; the EAR that DinoMan's program measures: one box, whole pixels"),
    *(field(t.name, pa.list_(pa.float32()), f"T{f' - {t.fewer}' if t.fewer else ''}; {t.meaning}") for t in TRACES),
    field(
        "inception_features",
        pa.list_(pa.float32()),
        "T x 2048, Inception's, pytorch-fid's input; empty unless asked for",
    ),
    field("fidelity_features", pa.list_(pa.float32()), "the same of torch-fidelity's input"),
    field(
        "i3d_features",
        pa.list_(pa.float32()),
        "N x 400, I3D's, of clips of 16 frames, 16 apart; empty unless asked for",
    ),
)

REFERENCE = schema(
    "reference",
    field("clip", pa.string(), "name of the test clip"),
    field("split", pa.string(), "test_seen, test_unseen, test_long or held_out"),
    field("speaker", pa.string(), "who is shown"),
    field("sentence", pa.string(), "what is said"),
    field("emotion", pa.string(), "empty where unknown"),
    field("level", pa.string(), "of the emotion; empty where unknown"),
    field("frames", pa.int32(), "frames, T, of the lossless decode that everything here is measured on"),
    field("encoders", pa.string(), "digest of the encoders' weights; features of different ones don't compare"),
    *_OF_VIDEO,
    field("sound_embeddings", pa.list_(pa.float32()), "(T - 4) x E, the sync judge's, of the sound from each frame on"),
    field(
        "ear", pa.list_(pa.float32()), "T; eye aspect ratio at full resolution, mean of both eyes: what is requested"
    ),
    field("mouth", pa.list_(pa.float32()), "T; opening as it was rendered (0 to 1), else mouth_dlib"),
    field("mouth_dlib", pa.list_(pa.float32()), "T; inner-lip gap over the eyes' distance, by dlib at full resolution"),
    field("leak", pa.list_(pa.float32()), "T; mouth_dlib as it is read from mask, visible pixels and the head's place"),
    field("leak_within", pa.list_(pa.float32()), "T; the same with each clip's means removed"),
    field("syncnet_sound", pa.list_(pa.float32()), "N x 1024, SyncNet's, of the clip's sound; empty unless asked for"),
)

FEATURES = schema(
    "features",
    field("clip", pa.string(), "name of the test clip"),
    field("audio_clip", pa.string(), "clip whose audio was given"),
    field("frames", pa.int32(), "frames of the video, T"),
    field("encoders", pa.string(), "digest of the encoders' weights, the same as in the reference"),
    *_OF_VIDEO,
    field(
        "mouth_embeddings", pa.list_(pa.float32()), "(T - 4) x E, the sync judge's, of five mouth cuts from each frame"
    ),
    field("psnr", pa.list_(pa.float32()), "T; dB, inside the mask, to the true frames"),
    field("ssim", pa.list_(pa.float32()), "T; inside the mask, to the true frames"),
    field(
        "syncnet_pictures", pa.list_(pa.float32()), "(T - 5) x 1024, SyncNet's, of five frames; empty unless asked for"
    ),
    field("lpips", pa.list_(pa.float32()), "T; LPIPS (VGG-16) to the true frames, whole; empty unless asked for"),
    field("lpips_mask", pa.list_(pa.float32()), "T; the same inside the mask"),
    field("picture", pa.binary(), "PNG, of a few clips only: some frames below those of the truth"),
)

CLIPS = schema(
    "metrics",
    field("clip", pa.string(), "name of the test clip"),
    field("split", pa.string(), "test_seen, test_unseen, test_long or held_out"),
    field("speaker", pa.string(), "who is shown"),
    field("sentence", pa.string(), "what the clip itself says"),
    field("emotion", pa.string(), "empty where unknown"),
    field("level", pa.string(), "of the emotion; empty where unknown"),
    field("audio_clip", pa.string(), "clip whose audio was given"),
    field("frames", pa.int32(), "frames of the video, T"),
    *(field(m.name, pa.float64(), m.meaning) for m in METRICS if m.sums),
    field("sync_offset", pa.float64(), "shift of the sync judge's least distance, frames; positive: the sound is late"),
    field("blinks", pa.int32(), "blinks by DinoMan's detector"),
    field(
        "blinks_robust",
        pa.int32(),
        "blinks by this project's detector: valleys of the eye aspect ratio below a share of the clip's open eyes'",
    ),
    field("psnr_frame", pa.list_(pa.float32()), "T; psnr_mask of each frame, dB"),
    field("ear_requested", pa.list_(pa.float32()), "T; of the clip itself, mean of both eyes"),
    field("ear_measured", pa.list_(pa.float32()), "T; by dlib on the enlarged video, NaN where it finds no face"),
    field(
        "mouth_requested",
        pa.list_(pa.float32()),
        "opening in the clip whose audio was given: the rendered truth, else dlib's",
    ),
    field(
        "mouth_measured",
        pa.list_(pa.float32()),
        "T; inner-lip gap over the eyes' distance, by dlib; NaN where it finds no face",
    ),
)

PORTRAITS = schema(
    "portraits",
    field("face", pa.string(), "test clip that is shown"),
    field("input", pa.string(), "what of it was given: still, its first frame, or video"),
    field("sound", pa.string(), "clip whose sound was given, another speaker's"),
    field("speaker", pa.string(), "who is shown"),
    field("split", pa.string(), "of the clip that is shown: test_seen or test_unseen"),
    field("frames", pa.int32(), "frames of the film, T"),
    field("detected", pa.float64(), "share of the frames in which dlib finds a face"),
    field(
        "csim",
        pa.float64(),
        "cosine of dlib's descriptors of the film and of the clip's first frame, mean of every tenth frame",
    ),
    field("blinks_asked", pa.int32(), "blinks in the eye aspect ratio that was asked for"),
    field("blinks_found", pa.int32(), "those of them that are found in the film, within 2 frames"),
    field("blinks_others", pa.int32(), "blinks that are found and were not asked for"),
    field("length_apart", pa.float64(), "sound and picture differ in length by so many frames"),
    field("mouth", pa.list_(pa.float32()), "sums of the correlation of the opening asked for and measured: xy, xx, yy"),
    field("ear", pa.list_(pa.float32()), "the same of the eye aspect ratio, mean of both eyes"),
    field("pause", pa.list_(pa.float32()), "opening in pauses, share of its range: sum, frames; NaN without a pause"),
    field("sync_distances", pa.list_(pa.float32()), "the sync judge's mean distances at shifts of -15 to 15 frames"),
    field("picture", pa.binary(), "JPEG, of a few films only: some frames beside one another"),
)

BREAKDOWN = schema(
    "breakdown",
    field("by", pa.string(), "what the clips are grouped by: emotion, level, sentence, speaker or length"),
    field("group", pa.string(), "the group, such as a speaker's name"),
    field("score", pa.string(), "name of the score"),
    field("value", pa.float64(), "of the group's clips"),
    field("low", pa.float64(), "of the interval; empty with fewer than two clips"),
    field("high", pa.float64(), "of the interval"),
    field("n", pa.int32(), "clips that have the score"),
)
