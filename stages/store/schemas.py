"""Schemas of the Parquet tables between the stages.

Each column's meaning and unit stands in its field's metadata and so in the file itself; ``docs/output.md`` is generated from it.
Frames T, landmarks L = 68, mel bins M.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = "1"


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, metadata={"meaning": meaning})


def _schema(name: str, *fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={"table": name, "version": VERSION})


FACES = _schema(
    "faces",
    _field("clip", pa.string(), "name of the clip"),
    _field("segment", pa.int32(), "number of the segment in its clip, from 0"),
    _field("status", pa.string(), "'ok', or why the clip can't be used (then the lists are empty)"),
    _field("fps", pa.float32(), "frames per second of the time base"),
    _field("start", pa.int32(), "frame number in the clip of the segment's first frame"),
    _field("frames", pa.list_(pa.binary()), "T JPEG pictures of the crop, size x size, RGB"),
    _field("landmarks", pa.list_(pa.float32()), "T x 68 x 2 (x, y), pixels of the crop, row-major"),
    _field("detected", pa.list_(pa.bool_()), "T; false where the landmarks were interpolated"),
    _field(
        "crop", pa.list_(pa.float32()), "x, y of the upper left corner and the side, source pixels (one crop a clip)"
    ),
    _field("rotation", pa.int32(), "degrees the source was turned by, as its display matrix says"),
    _field(
        "faces_seen",
        pa.int32(),
        "largest number of faces detected in one whole frame, small ones only where there is no larger one; "
        "the largest is followed",
    ),
)

TRUTH = _schema(
    "truth",
    _field("clip", pa.string(), "name of the clip"),
    _field("time_s", pa.list_(pa.float64()), "T; timestamp of each source frame, seconds"),
    _field("mouth_open", pa.list_(pa.float32()), "T; gap between the inner lips, 0 closed to 1 widest"),
    _field("jaw_open", pa.list_(pa.float32()), "T; 0 closed to 1 widest"),
    _field("eyelid_left", pa.list_(pa.float32()), "T; the subject's left eye, 0 closed to 1 open"),
    _field("eyelid_right", pa.list_(pa.float32()), "T; the right eye"),
    _field("yaw", pa.list_(pa.float32()), "T; degrees, positive to the picture's right"),
    _field("pitch", pa.list_(pa.float32()), "T; degrees, positive down"),
    _field("roll", pa.list_(pa.float32()), "T; degrees, positive clockwise"),
)

BLINK = _schema(
    "blink",
    _field("clip", pa.string(), "name of the clip"),
    _field(
        "ear_left",
        pa.list_(pa.float32()),
        "T; eye aspect ratio of the subject's left eye (landmarks 43-48), all segments joined",
    ),
    _field("ear_right", pa.list_(pa.float32()), "T; of the right eye (landmarks 37-42)"),
    _field("open_ear", pa.float32(), "EAR of the open eyes: the percentile blink.open_percentile of both eyes' mean"),
    _field("blink_start", pa.list_(pa.int32()), "first frame of each blink"),
    _field("blink_end", pa.list_(pa.int32()), "first frame after it"),
)

SPECTROGRAM = _schema(
    "spectrogram",
    _field("clip", pa.string(), "name of the clip"),
    _field("status", pa.string(), "'ok', or why there is no usable audio"),
    _field(
        "mel",
        pa.list_(pa.float32()),
        "S x 80, row-major, 80 steps a second, in [-4, 4], rounded to multiples of 1/1024",
    ),
    _field("audio", pa.binary(), "16 kHz mono, signed 16-bit little endian, on the video's time base"),
)

INDEX = _schema(
    "index",
    _field("clip", pa.string(), "name of the clip"),
    _field("shard", pa.string(), "file that holds it in each data stage"),
    _field("speaker", pa.string(), "who speaks"),
    _field("sentence", pa.string(), "what is said; empty where unknown"),
    _field("emotion", pa.string(), "empty where unknown"),
    _field("level", pa.string(), "of the emotion; empty where unknown"),
    _field("source", pa.string(), "where the media came from"),
    _field("sha256", pa.string(), "of the media file"),
    _field(
        "split",
        pa.string(),
        "train, validation, test_seen, test_unseen, test_long, held_out (of the test's kind, not drawn) or out",
    ),
    _field("status", pa.string(), "'ok', or why the clip is left out"),
    _field("frames", pa.int32(), "frames at mask.fps"),
    _field("blinks", pa.int32(), "blinks found by the blink stage"),
    _field("open_ear", pa.float32(), "EAR of the open eyes"),
)

# What the reference and the features of a method have in common.
_OF_ENCODERS = (
    _field("frame_features", pa.list_(pa.float32()), "T x E, row-major, of whole frames"),
    _field("mask_features", pa.list_(pa.float32()), "T x E, of the hull of the face alone"),
    _field("video_features", pa.list_(pa.float32()), "N x E, of windows of 8 frames, 4 apart"),
)
_OF_FRAMES = (
    _field("grid", pa.list_(pa.float32()), "T; energy of the 2-pixel grid in the mask, squared grey levels"),
    _field("border", pa.list_(pa.float32()), "T; gradient on the mask's border, grey levels a pixel"),
    _field("mouth_ring", pa.list_(pa.float32()), "T; energy of luma's gradient in a ring about the mouth, squared"),
    _field("brow_ring", pa.list_(pa.float32()), "T; the same about the brows"),
    _field(
        "lid_light", pa.list_(pa.float32()), "T; luma of the brightest twentieth of shut lids; NaN where they are open"
    ),
    _field("f_mse", pa.list_(pa.float32()), "T - 1; mean squared difference of neighbouring frames in the mask"),
    _field("ofm", pa.list_(pa.float32()), "T - 1; mean optical flow in the mask, pixels a frame"),
)
_OF_PUBLIC = (
    _field(
        "inception_features",
        pa.list_(pa.float32()),
        "T x 2048, Inception's, pytorch-fid's input; empty unless asked for",
    ),
    _field("fidelity_features", pa.list_(pa.float32()), "the same of torch-fidelity's input"),
    _field(
        "i3d_features",
        pa.list_(pa.float32()),
        "N x 400, I3D's, of clips of 16 frames, 16 apart; empty unless asked for",
    ),
)

REFERENCE = _schema(
    "reference",
    _field("clip", pa.string(), "name of the test clip"),
    _field("split", pa.string(), "test_seen, test_unseen, test_long or held_out"),
    _field("speaker", pa.string(), "who is shown"),
    _field("sentence", pa.string(), "what is said"),
    _field("emotion", pa.string(), "empty where unknown"),
    _field("level", pa.string(), "of the emotion; empty where unknown"),
    _field("frames", pa.int32(), "frames, T, of the lossless decode that everything here is measured on"),
    _field("encoders", pa.string(), "digest of the encoders' weights; features of different ones don't compare"),
    *_OF_ENCODERS,
    _field(
        "sound_embeddings", pa.list_(pa.float32()), "(T - 4) x E, the sync judge's, of the sound from each frame on"
    ),
    _field(
        "ear", pa.list_(pa.float32()), "T; eye aspect ratio at full resolution, mean of both eyes: what is requested"
    ),
    _field("mouth", pa.list_(pa.float32()), "T; opening as it was rendered (0 to 1), else mouth_dlib"),
    _field(
        "mouth_dlib", pa.list_(pa.float32()), "T; inner-lip gap over the eyes' distance, by dlib at full resolution"
    ),
    _field("landmarks", pa.list_(pa.float32()), "T x 68 x 2 (x, y), pixels, by dlib on the enlarged frames; else NaN"),
    _field(
        "identity", pa.list_(pa.float32()), "K x 128, dlib's descriptors of frames 0, 10, 20, ...; NaN without a face"
    ),
    *_OF_FRAMES,
    _field("warp_error", pa.list_(pa.float32()), "T - 1; mean squared change that the video's own flow leaves"),
    _field(
        "leak", pa.list_(pa.float32()), "T; mouth_dlib as it is read from mask, visible pixels and the head's place"
    ),
    _field("leak_within", pa.list_(pa.float32()), "T; the same with each clip's means removed"),
    *_OF_PUBLIC,
    _field("syncnet_sound", pa.list_(pa.float32()), "N x 1024, SyncNet's, of the clip's sound; empty unless asked for"),
)

FEATURES = _schema(
    "features",
    _field("clip", pa.string(), "name of the test clip"),
    _field("audio_clip", pa.string(), "clip whose audio was given"),
    _field("frames", pa.int32(), "frames of the video, T"),
    _field("encoders", pa.string(), "digest of the encoders' weights, the same as in the reference"),
    *_OF_ENCODERS,
    _field(
        "mouth_embeddings", pa.list_(pa.float32()), "(T - 4) x E, the sync judge's, of five mouth cuts from each frame"
    ),
    _field("landmarks", pa.list_(pa.float32()), "T x 68 x 2 (x, y), pixels, by dlib on the enlarged frames; else NaN"),
    _field("detected", pa.list_(pa.bool_()), "T; whether dlib finds a face"),
    _field(
        "identity", pa.list_(pa.float32()), "K x 128, dlib's descriptors of frames 0, 10, 20, ...; NaN without a face"
    ),
    _field("psnr", pa.list_(pa.float32()), "T; dB, inside the mask, to the true frames"),
    _field("ssim", pa.list_(pa.float32()), "T; inside the mask, to the true frames"),
    *_OF_FRAMES,
    _field("warp_error", pa.list_(pa.float32()), "T - 1; mean squared change that the true video's flow leaves"),
    *_OF_PUBLIC,
    _field(
        "syncnet_pictures", pa.list_(pa.float32()), "(T - 5) x 1024, SyncNet's, of five frames; empty unless asked for"
    ),
    _field("lpips", pa.list_(pa.float32()), "T; LPIPS (VGG-16) to the true frames, whole; empty unless asked for"),
    _field("lpips_mask", pa.list_(pa.float32()), "T; the same inside the mask"),
    _field("picture", pa.binary(), "PNG, of a few clips only: some frames below those of the truth"),
)

METRICS = _schema(
    "metrics",
    _field("clip", pa.string(), "name of the test clip"),
    _field("split", pa.string(), "test_seen, test_unseen, test_long or held_out"),
    _field("speaker", pa.string(), "who is shown"),
    _field("sentence", pa.string(), "what the clip itself says"),
    _field("emotion", pa.string(), "empty where unknown"),
    _field("level", pa.string(), "of the emotion; empty where unknown"),
    _field("audio_clip", pa.string(), "clip whose audio was given"),
    _field("frames", pa.int32(), "frames of the video, T"),
    _field("detection_rate", pa.float64(), "share of frames in which dlib finds a face"),
    _field("ear_r", pa.float64(), "correlation of requested and measured EAR (mean of both eyes)"),
    _field("ear_mae", pa.float64(), "mean absolute difference of the two"),
    _field("mouth_r", pa.float64(), "correlation of measured and requested mouth opening"),
    _field("mouth_r_dlib", pa.float64(), "the same against dlib's measure of the clip whose audio was given"),
    _field("mouth_r_own", pa.float64(), "the same against the clip's own mouth opening"),
    _field(
        "sync_confidence", pa.float64(), "median - min of the sync judge's distances over shifts, with the given audio"
    ),
    _field("sync_distance", pa.float64(), "min of the distances"),
    _field("sync_offset", pa.float64(), "shift of the min, frames; positive: the sound is late"),
    _field(
        "sync_confidence_other", pa.float64(), "confidence with the audio of another test clip, which was not given"
    ),
    _field("blinks", pa.int32(), "blinks by DinoMan's detector"),
    _field("blinks_robust", pa.int32(), "blinks by the detector with a threshold relative to the clip's open eyes"),
    _field("psnr_mask", pa.float64(), "dB, inside the face mask, to the true frames"),
    _field("ssim_mask", pa.float64(), "inside the face mask, to the true frames"),
    _field("checkerboard", pa.float64(), "energy of the 2-pixel grid in the mask, over the true frames'"),
    _field("ghost_edge", pa.float64(), "gradient on the mask's border, over the true frames'"),
    _field("mouth_streaks", pa.float64(), "energy of luma's gradient in a ring about the mouth, over the true frames'"),
    _field("brow_ghosts", pa.float64(), "the same about the brows"),
    _field("lid_slits", pa.float64(), "luma of the brightest twentieth of shut lids, over the true frames'"),
    _field(
        "mouth_amplitude", pa.float64(), "deviation of the mouth's opening, over that of the clip whose audio was given"
    ),
    _field("f_mse", pa.float64(), "mean squared difference of neighbouring frames in the mask, squared grey levels"),
    _field("f_mse_ratio", pa.float64(), "that, over the true frames'"),
    _field("ofm", pa.float64(), "mean optical flow between neighbouring frames in the mask, pixels a frame"),
    _field("ofm_ratio", pa.float64(), "that, over the true frames'"),
    _field("warp_error", pa.float64(), "mean squared change that the true video's flow leaves, squared grey levels"),
    _field("warp_error_ratio", pa.float64(), "that, over the true frames'"),
    _field(
        "lmd", pa.float64(), "mean distance of dlib's 68 points to those of the true frame, over its eyes' distance"
    ),
    _field("lmd_mouth", pa.float64(), "the same of the mouth's 20 points"),
    _field("lmd_px", pa.float64(), "lmd in pixels of the video"),
    _field("lmd_mouth_px", pa.float64(), "lmd_mouth in pixels"),
    _field("csim", pa.float64(), "cosine of dlib's identity descriptors to the true frame's, every tenth frame"),
    _field("csim_reference", pa.float64(), "the same to the clip's first frame, which the generator is shown"),
    _field("same_person", pa.float64(), "share of those frames with a descriptor at most 0.6 from the true frame's"),
    _field("lse_c", pa.float64(), "SyncNet's confidence with the given audio; empty unless asked for"),
    _field("lse_d", pa.float64(), "SyncNet's least distance; empty unless asked for"),
    _field("lpips", pa.float64(), "LPIPS (VGG-16) to the true frames, whole; empty unless asked for"),
    _field("lpips_mask", pa.float64(), "the same inside the mask"),
    _field("psnr_frame", pa.list_(pa.float32()), "T; psnr_mask of each frame, dB"),
    _field("ear_requested", pa.list_(pa.float32()), "T; of the clip itself, mean of both eyes"),
    _field("ear_measured", pa.list_(pa.float32()), "T; by dlib on the enlarged video, NaN where it finds no face"),
    _field(
        "mouth_requested",
        pa.list_(pa.float32()),
        "opening in the clip whose audio was given: the rendered truth, else dlib's",
    ),
    _field(
        "mouth_measured",
        pa.list_(pa.float32()),
        "T; inner-lip gap over the eyes' distance, by dlib; NaN where it finds no face",
    ),
)

BREAKDOWN = _schema(
    "breakdown",
    _field("by", pa.string(), "what the clips are grouped by: emotion, level, sentence, speaker or length"),
    _field("group", pa.string(), "the group, such as a speaker's name"),
    _field("score", pa.string(), "name of the score"),
    _field("value", pa.float64(), "of the group's clips"),
    _field("low", pa.float64(), "of the interval; empty with fewer than two clips"),
    _field("high", pa.float64(), "of the interval"),
    _field("n", pa.int32(), "clips that have the score"),
)
