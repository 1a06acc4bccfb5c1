"""stages/faces/landmarks.py and the mask stage's geometry on rendered faces."""

import cv2
import numpy as np
import pytest

from stages import mask, media
from stages.base import params
from stages.base.errors import ClipError, InputError
from stages.corpora.rendered import speaker
from stages.faces import landmarks, observed, square
from stages.faces.landmarks import FaceTracker
from stages.store import tars


@pytest.fixture(scope="module")
def lumas(tmp_path_factory):
    """Luma pictures of a rendered clip, (T, H, W)."""
    path = tmp_path_factory.mktemp("rendered") / "ada.tar"
    settings = params.load("presets/demo.yaml").corpus.rendered.model_copy(update={"sentences": 1})
    speaker.take(settings, "ada", path)
    frames = media.decode(tars.read(path, "ada_s01.mp4"), fps=25)[:32]
    return [landmarks.luma(frame) for frame in frames]


def rms(a, b):
    return np.sqrt(((a - b) ** 2).sum(-1).mean(-1))


def test_tracking_equals_detection_on_every_frame(lumas):
    followed = np.array(list(FaceTracker(10, 2).follow(lumas)))
    single = np.array([landmarks.detect_landmarks(luma) for luma in lumas])
    assert followed.shape == (len(lumas), 68, 2)
    assert np.median(rms(followed, single)) < 1.2
    assert rms(followed, single).max() < 5


@pytest.mark.parametrize("looks", [1, 2])
def test_fewer_looks_see_the_same_face_less_exactly(lumas, looks):
    few, all_looks = (np.array(list(FaceTracker(10, n).follow(lumas[:11]))) for n in (looks, 3))
    assert 0 < np.median(rms(few, all_looks)) < 2


def test_small_videos_are_read_as_dlib_reads_the_same_boxes_one_by_one(lumas):
    """Nine looks a frame by our cascade, in real numbers, against dlib's model in whole pixels."""
    square = [cv2.resize(luma[:, 60:420], (64, 64), interpolation=cv2.INTER_AREA) for luma in lumas]
    frames = np.repeat(np.stack(square)[..., None], 3, -1)
    found = observed.measure(frames, 4)
    assert found.detected_T.all()
    assert len(found.landmarks_TL2) == len(lumas) > observed.SMOOTH
    boxes = np.stack([box for box in found.boxes_T if box is not None]) * 4
    middle = len(lumas) // 2
    box = boxes[middle - observed.SMOOTH // 2 : middle + observed.SMOOTH // 2 + 1].mean(0)
    side, centre = box[2] - box[0], (box[:2] + box[2:]) / 2
    large = cv2.cvtColor(cv2.resize(frames[middle], (256, 256), interpolation=cv2.INTER_CUBIC), cv2.COLOR_RGB2GRAY)
    seen = []
    for right, down, size in observed.STEADY:
        corners = [centre + side * np.array([right, down]) + way * side * size / 2 for way in (-1, 1)]
        seen.append(observed.whole_pixels(large, np.concatenate(corners)))
    expected = np.mean(seen, 0)
    off = rms(found.landmarks_TL2[middle] * 4 + 1.5, expected)
    assert off < 1, "pixels of 256"


def test_landmarks_move_with_the_picture(lumas):
    here, there = landmarks.detect_landmarks(lumas[0]), landmarks.detect_landmarks(np.roll(lumas[0], (6, 10), (0, 1)))
    assert rms(here + [10, 6], there) < 2.5


def test_no_face_gives_none_and_a_flat_picture_does_no_harm():
    assert landmarks.detect_landmarks(np.zeros((120, 160), np.uint8)) is None
    assert list(FaceTracker(5, 2).follow([np.full((90, 90), 128, np.uint8)] * 7)) == [None] * 7
    assert list(FaceTracker(5, 2).follow([])) == []


@pytest.mark.parametrize("start", [0, 7, 10, 26])
def test_covered_frames_are_found_out(lumas, start):
    covered = [np.full_like(luma, 90) if start <= k < start + 6 else luma for k, luma in enumerate(lumas)]
    found = list(FaceTracker(10, 2).follow(covered))
    missing = [k for k, points in enumerate(found) if points is None]
    assert missing == list(range(start, start + 6))


def test_the_largest_face_is_followed(lumas):
    small = [cv2.resize(luma, None, fx=0.65, fy=0.65, interpolation=cv2.INTER_AREA) for luma in lumas[:12]]
    both = []
    for large, little in zip(lumas, small, strict=False):
        picture = np.full((large.shape[0], large.shape[1] + little.shape[1]), 90, np.uint8)
        picture[: little.shape[0], : little.shape[1]] = little
        picture[:, little.shape[1] :] = large
        both.append(picture)
    tracker = FaceTracker(5, 2)
    found = list(tracker.follow(both))
    assert tracker.faces_seen == 2
    assert all(points is not None and points[:, 0].min() > small[0].shape[1] for points in found)


def test_the_model_file_is_verified(monkeypatch):
    assert landmarks.model_file().name == landmarks.FILE
    monkeypatch.setattr(landmarks, "SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"sha256 is fbdc2cb8.*install face_recognition_models==0\.3\.0"):
        landmarks.model_file()
    monkeypatch.setattr(landmarks, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="not installed"):
        landmarks.model_file()


def test_short_gaps_are_filled_and_marked():
    points = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((10, 68, 2), np.float32)
    found = [None if k in (0, 4, 5) else points[k] for k in range(10)]
    filled, detected = mask.fill_gaps(found, 2, "a")
    assert detected.tolist() == [k not in (0, 4, 5) for k in range(10)]
    np.testing.assert_allclose(filled[1:], points[1:])
    np.testing.assert_allclose(filled[0], points[1])
    with pytest.raises(ClipError, match=r"clip a: the face is lost for 2 frames from frame 4 on \(mask.max_gap is 1\)"):
        mask.fill_gaps(found, 1, "a")
    with pytest.raises(ClipError, match="no face found"):
        mask.fill_gaps([None] * 3, 5, "a")


def test_crop_is_square_whole_and_holds_the_face():
    points = np.random.default_rng(0).uniform([100, 50], [180, 150], (20, 68, 2))
    points[10:] += [120, 0]  # the head moves far
    x, y, side = square.crop_square(points, 1.6)
    assert side >= np.ptp(points[..., 0])
    inside = square.to_crop(points, (x, y, side), 128)
    assert inside.min() > 0
    assert inside.max() < 127


def test_cut_repeats_the_edge_and_keeps_positions():
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 0] = 200
    image[20:24, 30:34] = 255
    crop = (-16, -10, 96)
    found = media.cut(image, crop, 96)
    assert found.shape == (96, 96, 3)
    assert (found[15:60, :17] == 200).all()
    x, y = square.to_crop(np.array([31.5, 21.5]), crop, 96)
    assert found[int(y), int(x), 0] == 255
    half = media.cut(image, crop, 48)
    bright = np.argwhere(half[:, 12:, 0] > 200).mean(0)[::-1] + [12, 0]
    np.testing.assert_allclose(bright, square.to_crop(np.array([31.5, 21.5]), crop, 48), atol=0.3)


def test_a_face_at_the_pictures_edge_is_cut_out():
    assert media.cut(np.full((50, 50, 3), 7, np.uint8), (40, 40, 30), 16).mean() == 7
