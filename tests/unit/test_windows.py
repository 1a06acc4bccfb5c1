"""Training windows: what a step sees, and that it depends on (seed, step, index) alone."""

import dataclasses

import numpy as np
import pytest
import torch

from stages.clips import conditions
from stages.clips.windows import MIRRORED_MAP, TrainingSet, Windows, pixel_weights
from stages.faces.geometry import RIGID, similarity, transform

# Landmarks of a mirrored face: where each of the 68 points of the original lies among them.
MIRRORED_POINTS = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def training_set(clips, **over) -> TrainingSet:
    settings = {
        "windows": Windows(clips, 5),
        "frames": Windows(clips, 1),
        "seed": 1,
        "batch": 3,
        "singles": 2,
        "timesteps": 1000,
        "latest_of": 1,
        "align": True,
        "crop": 0,
        "places": False,
        "audio_steps": 16,
        "blink_frames": 3,
        "ear": "raw",
        "drop": (),
        "blink_share": 0.25,
        "first_reference": 0.0,
        "mirror": False,
        "condition_dropout": 0.0,
        "mouth_weight": 4.0,
        "eye_weight": 2.0,
    }
    return TrainingSet(**{**settings, **over})


def mirrored(clip):
    """The clip of the mirrored person."""
    landmarks = clip.landmarks_TL2[:, MIRRORED_POINTS].copy()
    landmarks[..., 0] = clip.frames_THWC.shape[2] - 1 - landmarks[..., 0]
    return dataclasses.replace(
        clip,
        frames_THWC=clip.frames_THWC[:, :, ::-1].copy(),
        masks_THW=clip.masks_THW[:, :, ::-1].copy(),
        landmarks_TL2=landmarks,
        ear_T2=clip.ear_T2[:, ::-1].copy(),
    )


def test_shapes_and_ranges(make_clip):
    batch = training_set([make_clip(), make_clip("bela_s02")]).step(0)
    assert batch.x_0.shape == batch.noise.shape == (17, 3, 32, 32)
    assert batch.weight_N1HW.shape == (17, 1, 32, 32)
    assert batch.given.mel_NSM.shape == (17, 16, 80)
    assert batch.given.ear_NK2.shape == (17, 3, 2)
    assert batch.sync_mel_BSM.shape == (3, 16, 80)
    assert -1 <= batch.x_0.min() < batch.x_0.max() <= 1
    assert 0 <= batch.t_N.min() <= batch.t_N.max() < 1000
    assert len(batch.clips) == 17


def test_a_window_depends_on_seed_step_and_index_alone(make_clip):
    data = training_set([make_clip(), make_clip("bela_s02")])
    whole, part = data.step(7), data.step(7, indices=[2])
    assert torch.equal(whole.x_0[10:15], part.x_0)
    assert torch.equal(whole.noise[10:15], part.noise)
    assert not torch.equal(whole.noise, data.step(8).noise)
    assert not torch.equal(whole.noise, training_set([make_clip(), make_clip("bela_s02")], seed=2).step(7).noise)


def test_single_frames_come_last_and_have_no_sync_window(make_clip):
    data = training_set([make_clip()])
    single = data.window(0, 3)
    assert single.x_0.shape == (1, 3, 32, 32)
    assert len(single.sync_mel_BSM) == 0
    assert torch.equal(data.step(0).x_0[15:16], single.x_0)


def test_the_latest_of_two_draws_is_later(make_clip):
    clips = [make_clip()]

    def mean(latest_of: int) -> float:
        data = training_set(clips, latest_of=latest_of, batch=0, singles=1)
        return float(np.mean([data.step(step).t_N.item() for step in range(400)]))

    assert mean(1) == pytest.approx(500, abs=50)
    assert mean(2) == pytest.approx(667, abs=50)


def test_the_reference_lies_outside_the_window(make_clip):
    clip, rng = make_clip(frames=12), np.random.default_rng(0)
    windows = Windows([clip], 5)
    drawn = {windows.reference(rng, clip, 4) for _ in range(200)}
    assert drawn == {0, 1, 2, 3, 9, 10, 11}


def test_a_share_of_the_references_is_the_first_frame(make_clip):
    clip, rng = make_clip(frames=101), np.random.default_rng(0)
    windows = Windows([clip], 1)

    def share(first: float, start: int) -> float:
        return float(np.mean([windows.reference(rng, clip, start, first) == 0 for _ in range(2000)]))

    assert share(0.0, 50) == pytest.approx(0.01, abs=0.01)
    assert share(0.5, 50) == pytest.approx(0.505, abs=0.05)
    assert share(1.0, 50) == 1
    assert share(1.0, 0) == 0, "a window is not its own reference"
    data = training_set([clip], batch=0, singles=1, align=False, first_reference=1.0)
    shown = [data.window(step, 0).given.reference_NCHW for step in range(4)]
    assert all(torch.equal(shown[0], other) for other in shown[1:])


def test_blinks_are_drawn_more_often_where_wanted(make_clip):
    windows, rng = Windows([make_clip(frames=100)], 5), np.random.default_rng(0)

    def share(blink_share: float) -> float:
        starts = np.array([windows.draw(rng, blink_share)[1] for _ in range(2000)])
        return float(((starts < 14) & (starts + 5 > 10)).mean())

    assert share(0.0) == pytest.approx(8 / 96, abs=0.03)
    assert share(0.5) == pytest.approx(0.5 + 0.5 * 8 / 96, abs=0.05)


def test_dropped_conditions_are_absent_and_blinks_not_sought(make_clip):
    batch = training_set([make_clip()], drop=("blink", "masked_face")).step(0)
    assert batch.given.ear_NK2 is None
    assert batch.given.masked_NCHW is None
    assert float(batch.weight_N1HW.min()) == 1  # without the masked face the whole frame is generated


def test_a_mirrored_batch_is_that_of_the_mirrored_clip(make_clip):
    """Each field against the same one made from flipped frames and landmarks whose left and right have changed places."""
    clip = make_clip(size=64)
    other = mirrored(clip)
    frames = range(3, 8)
    how = {"align": True, "places_too": True, "audio_steps": 16, "blink_frames": 3, "ear": "raw", "drop": ()}
    here, there = (conditions.conditions(c, c, frames, 0, **how) for c in (clip, other))
    turned = here.mirrored()
    assert torch.equal(turned.ear_NK2, there.ear_NK2)
    assert torch.equal(turned.mel_NSM, there.mel_NSM)
    assert torch.equal(turned.masked_NCHW, there.masked_NCHW)
    torch.testing.assert_close(turned.places_N4HW, there.places_N4HW, atol=1e-4, rtol=0)
    assert float((turned.reference_NCHW - there.reference_NCHW).abs().mean()) < 0.01  # resampled, one way and the other
    assert float((here.reference_NCHW - there.reference_NCHW).abs().mean()) > 0.02
    cut = torch.tensor([[0.3, -0.2, 1.0], [-0.3, -0.2, 1.0]])  # the same place of a mouth and of a mirrored one
    maps, mirrored_maps = (conditions.mouth_maps(c, frames) for c in (clip, other))
    torch.testing.assert_close(maps * MIRRORED_MAP, mirrored_maps, atol=1e-4, rtol=0)
    torch.testing.assert_close((maps @ cut[0])[:, 0], -(mirrored_maps @ cut[1])[:, 0], atol=1e-4, rtol=0)


def test_half_of_the_windows_and_frames_are_mirrored(make_clip):
    clips = [make_clip(), make_clip("bela_s02")]
    plain, mirroring = training_set(clips), training_set(clips, mirror=True)
    count = 0
    for step in range(40):
        for index in (0, 3):
            was, now = plain.window(step, index), mirroring.window(step, index)
            assert torch.equal(was.noise, now.noise)
            assert torch.equal(was.t_N, now.t_N)
            turned = not torch.equal(was.x_0, now.x_0)
            wanted = was.mirrored() if turned else was
            for name in ("x_0", "weight_N1HW", "mouth_maps_BF23"):
                assert torch.equal(getattr(wanted, name), getattr(now, name)), name
            assert torch.equal(wanted.given.reference_NCHW, now.given.reference_NCHW)
            count += turned
    assert 25 <= count <= 55  # of 80; outside once in a thousand seeds


def test_weights_are_zero_outside_the_mask_and_high_at_mouth_and_eyes(make_clip):
    clip = make_clip(size=64)
    weight = pixel_weights(clip, [0], mouth=4.0, eyes=2.0, everywhere=False)[0, 0].numpy()
    x, y = clip.landmarks_TL2[0, 62].round().astype(int)
    assert weight[y, x] == pytest.approx(4, rel=1e-3)
    x, y = clip.landmarks_TL2[0, [36, 39]].mean(0).round().astype(int)
    assert weight[y, x] == pytest.approx(2, rel=0.2)  # small, and blurred
    assert weight[0, 0] == 0
    assert weight[clip.masks_THW[0]].min() == 1
    corner = clip.landmarks_TL2[0, 54].round().astype(int)
    beside = weight[corner[1], corner[0] : corner[0] + 12]
    assert (np.diff(beside) <= 0).all()  # it fades out, so that what is drawn beside the mouth costs, too
    assert ((beside > 1.1) & (beside < 3.9)).sum() >= 2


def test_the_masked_face_hides_exactly_the_mask(make_clip):
    clip = make_clip()
    x, mask = conditions.to_tensor(clip.frames_THWC[:2]), conditions.masks(clip, [0, 1])
    masked = conditions.masked_face(x, mask)
    assert torch.equal(masked[mask.expand_as(x) > 0], torch.zeros(int(mask.sum()) * 3))
    assert torch.equal(masked[mask.expand_as(x) == 0], x[mask.expand_as(x) == 0])


def test_frames_survive_the_way_to_tensors_and_back(make_clip):
    frames = make_clip().frames_THWC
    assert np.array_equal(conditions.to_frames(conditions.to_tensor(frames)), frames)


def test_ear_windows_repeat_the_clips_ends(make_clip):
    clip = make_clip(frames=20)
    found = conditions.ear_windows(clip, [0, 19], 3, "raw").numpy()
    np.testing.assert_array_equal(found[0], clip.ear_T2[[0, 0, 1]])
    np.testing.assert_array_equal(found[1], clip.ear_T2[[18, 19, 19]])


def test_clips_shorter_than_a_window_are_an_error(make_clip):
    with pytest.raises(ValueError, match="no clip has 5 frames"):
        Windows([make_clip(frames=4)], 5)


def test_an_aligned_reference_lies_on_the_frame(make_clip):
    """A picture whose pixels move with the landmarks: the reference, aligned, is the frame itself."""
    clip = make_clip(size=64)
    y, x = np.mgrid[:64, :64]
    moved = clip.landmarks_TL2[:, RIGID].mean(1) - clip.landmarks_TL2[0, RIGID].mean(0)
    smooth = [128 + 100 * np.sin((x - dx) / 9) * np.cos((y - dy) / 7) for dx, dy in moved]
    clip = dataclasses.replace(clip, frames_THWC=np.stack([np.stack(smooth)] * 3, -1).astype(np.uint8))
    far = int(np.linalg.norm(moved, axis=-1).argmax())
    found = conditions.aligned(clip, [far], 0)[0].astype(float)
    inside = clip.masks_THW[far]
    before = np.abs(clip.frames_THWC[0].astype(float) - clip.frames_THWC[far])[inside].mean()
    assert np.abs(found - clip.frames_THWC[far])[inside].mean() < 0.5 * before


def test_aligning_does_not_blur(make_clip):
    """Half a pixel there: of stripes of four pixels linear interpolation leaves 0.7 of the contrast, Lanczos nearly all."""
    clip = make_clip(size=64)
    stripes = np.where(np.arange(64) // 2 % 2, 200, 56).astype(np.uint8)[None, :, None] * np.ones((64, 1, 3), np.uint8)
    landmarks = clip.landmarks_TL2.copy()
    landmarks[1] = landmarks[0] + [0.5, 0]
    clip = dataclasses.replace(clip, frames_THWC=np.stack([stripes] * 30), landmarks_TL2=landmarks)
    found = conditions.aligned(clip, [1], 0)[0, 16:48, 16:48, 0].astype(float)
    sines = [wave(np.arange(16, 48) * np.pi / 2) for wave in (np.sin, np.cos)]
    contrast = [np.hypot(*(picture @ wave for wave in sines)).mean() for picture in (found, stripes[16:48, 16:48, 0])]
    assert contrast[0] > 0.9 * contrast[1]


def head(turn_deg: float, tilt_deg: float) -> np.ndarray:
    """68 landmarks of a round head that has turned and tilted out of the picture's plane, seen from far away, pixels."""
    across = np.array([-0.8, -0.72, -0.6, 0.6, 0.72, 0.8])  # of the outline, level with the eyes and below
    solid = np.zeros((68, 3))  # to the right, down, towards the viewer; in distances of the outer eye corners
    solid[[0, 1, 2, 14, 15, 16]] = np.stack([across, [0.3, 0.7, 0.9, 0.9, 0.7, 0.3], np.zeros(6)], -1)
    solid[[36, 39, 42, 45]] = [(-0.5, 0, 0.62), (-0.2, 0, 0.7), (0.2, 0, 0.7), (0.5, 0, 0.62)]
    solid[27:31] = [(0, 0.05 + 0.15 * i, 0.75 + 0.1 * i) for i in range(4)]
    solid[31:36] = [(0.1 * i, 0.6, 0.8) for i in range(-2, 3)]
    a, b = np.deg2rad([turn_deg, tilt_deg])
    yaw = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    return (solid @ (pitch @ yaw).T)[:, :2] * 29 + [32, 24]


@pytest.mark.parametrize(("turn", "tilt"), [(4, 0), (-4, 0), (0, 3), (3, -2)])
def test_the_outline_of_an_aligned_reference_follows_the_heads_turn(make_clip, turn: float, tilt: float):
    """Dots on a reference's outline: aligned, they lie nearer to where the turned head has them than by the similarity alone."""
    clip, outline = make_clip(frames=20, size=64), [0, 1, 2, 14, 15, 16]
    landmarks = np.stack([head(0, 0)] * 10 + [head(turn, tilt)] * 10).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    errors = []
    for point in outline:
        dot = 255 * np.exp(-((x - landmarks[0, point, 0]) ** 2 + (y - landmarks[0, point, 1]) ** 2) / 8)
        frames = np.repeat(np.repeat(dot[None, ..., None], 3, -1), 20, 0).astype(np.uint8)
        moved = dataclasses.replace(clip, frames_THWC=frames, landmarks_TL2=landmarks)
        found = conditions.aligned(moved, [15], 0)[0, ..., 0].astype(float)
        centre = np.array([(found * x).sum(), (found * y).sum()]) / found.sum()
        alone = transform(landmarks[0, point], similarity(landmarks[0, RIGID], landmarks[15, RIGID]))
        errors.append((np.linalg.norm(centre - landmarks[15, point]), np.linalg.norm(alone - landmarks[15, point])))
    found, alone = np.mean(errors, 0)
    assert found < 0.7 * alone


def test_what_speech_and_blinks_move_moves_no_reference(make_clip):
    clip = make_clip(size=64)
    landmarks = clip.landmarks_TL2.copy()
    landmarks[:, 48:] += np.random.default_rng(1).normal(0, 2, (len(landmarks), 20, 2))
    landmarks[:, [37, 38, 40, 41, 43, 44, 46, 47]] += np.float32([0, 1])
    landmarks[:, :27] += np.float32([0, 2])
    spoken = dataclasses.replace(clip, landmarks_TL2=landmarks)
    assert np.array_equal(conditions.aligned(clip, range(5), 20), conditions.aligned(spoken, range(5), 20))


def test_places_follow_the_head_and_say_nothing_of_mouth_and_lids(make_clip):
    clip = make_clip(size=64)
    landmarks = clip.landmarks_TL2[0].astype(float)
    before = conditions.places(landmarks, 64)
    assert before.shape == (4, 64, 64)
    spoken = landmarks.copy()
    spoken[48:] += [0, 3]
    spoken[[37, 38, 40, 41, 43, 44, 46, 47]] += [0, 1]
    spoken[:17] += [0, 2]
    assert np.array_equal(conditions.places(spoken, 64), before)
    shifted = conditions.places(landmarks + [5, 3], 64)
    np.testing.assert_allclose(shifted[:, 3:, 5:], before[:, :-3, :-5], atol=1e-5)
    x, y = landmarks[33].round().astype(int)  # the nose's base is the origin
    np.testing.assert_allclose(before[:2, y, x], 0, atol=0.1)
    for channel, points in ((2, landmarks[48:]), (3, landmarks[36:42])):
        x, y = points.mean(0).round().astype(int)
        assert before[channel, y, x] > 0.7 > 0.2 > before[channel, 0, 0]


def test_places_of_a_method_without_the_masked_face_are_the_references(make_clip):
    clip = make_clip()
    given = training_set([clip], places=True, drop=("masked_face",)).window(0, 3).given
    shown = [np.array_equal(given.places_N4HW[0], conditions.places(points, 32)) for points in clip.landmarks_TL2]
    kept = [torch.equal(given.reference_NCHW, conditions.to_tensor(clip.frames_THWC[t : t + 1])) for t in range(30)]
    assert shown == kept
    assert sum(shown) == 1


def test_a_part_of_a_frame_is_the_same_part_of_all_its_pictures_and_holds_the_mouth(make_clip):
    clip = make_clip(size=64)
    how = {"batch": 0, "singles": 4, "places": True}
    whole, cut = training_set([clip], **how), training_set([clip], **how, crop=48)
    seen = set()
    for index in range(12):
        full, part = whole.window(0, index), cut.window(0, index)
        assert part.x_0.shape == part.noise.shape == part.given.reference_NCHW.shape == (1, 3, 48, 48)
        places = [
            (y, x) for y in range(17) for x in range(17) if torch.equal(full.x_0[..., y : y + 48, x : x + 48], part.x_0)
        ]
        ((y, x),) = places
        seen.add((y, x))
        here = (..., slice(y, y + 48), slice(x, x + 48))
        assert torch.equal(full.noise[here], part.noise)
        assert torch.equal(full.weight_N1HW[here], part.weight_N1HW)
        for name in ("reference_NCHW", "masked_NCHW", "places_N4HW"):
            assert torch.equal(getattr(full.given, name)[here], getattr(part.given, name))
        assert float(part.weight_N1HW.max()) == float(full.weight_N1HW.max())  # the mouth's
    assert len(seen) > 6


def test_without_the_masked_face_the_reference_is_not_aligned(make_clip):
    data = training_set([make_clip()], drop=("masked_face",))
    given = data.window(0, 0).given
    assert torch.equal(given.reference_NCHW[0], given.reference_NCHW[-1])


def test_normalised_ears_are_told_between_the_speakers_shut_and_open_eyes(make_clip):
    clip = dataclasses.replace(make_clip(), eye_levels=(0.1, 0.3))
    raw, told = (conditions.ear_windows(clip, range(4), 3, ear) for ear in ("raw", "normalised"))
    torch.testing.assert_close(told, (raw - 0.1) / 0.2)
    batches = [training_set([clip], ear=ear).step(0).given.ear_NK2 for ear in ("raw", "normalised")]
    torch.testing.assert_close(batches[1], (batches[0] - 0.1) / 0.2)
