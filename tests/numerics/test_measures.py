"""Correlation, intervals, image, sync, leak and artefact measures on cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import landmarks_of
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.faces.geometry import RIGID
from stages.measures import artefacts, correlation, image, leak, likeness
from stages.measures.intervals import bootstrap, bootstrap_median, mean_of
from stages.measures.sync import distances, sync


def test_pooled_correlation_ignores_differences_between_clips() -> None:
    rng = np.random.default_rng(0)
    x = [rng.normal(size=50) for _ in range(6)]
    offset = [(a + 100 * i, 3 * a - 50 * i) for i, a in enumerate(x)]
    assert correlation.pooled(offset) == pytest.approx(1)
    between_only = [(rng.normal(size=200) + 100 * i, rng.normal(size=200) + 100 * i) for i in range(6)]
    assert abs(correlation.pooled(between_only)) < 0.1


def test_correlation_matches_numpy_on_one_clip_and_leaves_nan_out() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=80)
    y = x + rng.normal(size=80)
    expected = np.corrcoef(x, y)[0, 1]
    assert correlation.pooled([(x, y)]) == pytest.approx(expected, rel=1e-12)
    gap = np.concatenate([y, [np.nan] * 5])
    assert correlation.pooled([(np.concatenate([x, np.ones(9)]), gap)]) == pytest.approx(expected, rel=1e-12)


def test_correlation_of_a_constant_is_undefined() -> None:
    assert np.isnan(correlation.pooled([(np.ones(20), np.arange(20.0))]))
    assert np.isnan(correlation.sums([1.0, 2.0], [1.0, 2.0])).all()


def test_absolute_error() -> None:
    total, count = correlation.absolute_error([0, 1, np.nan], [0.5, 1, 3])
    assert (total, count) == (0.5, 2)


def test_bootstrap_interval_covers_a_known_mean() -> None:
    """Speakers with their own level, two clips each: the 90 % interval by speaker covers the mean of all in 80 to 97 of 100."""
    hits = 0
    for draw in range(100):
        rng = np.random.default_rng([3, draw])
        level = np.repeat(rng.normal(size=20), 2)
        rows = np.column_stack([level + 0.1 * rng.normal(size=40), np.ones(40)])
        speakers = [f"s{i // 2}" for i in range(40)]
        score = bootstrap(rows, mean_of, speakers=speakers, resamples=300, confidence=0.9, seed=draw)
        assert score.low is not None
        assert score.high is not None
        hits += score.low <= 0 <= score.high
    assert 80 <= hits <= 97


def test_bootstrap_edges() -> None:
    how = {"resamples": 50, "confidence": 0.95, "seed": 0}
    nothing = bootstrap([[np.nan, 1.0]], mean_of, speakers=["a"], **how)  # type: ignore[arg-type]
    assert (nothing.value, nothing.n) == (None, 0)
    one = bootstrap([[2.0, 1.0]], mean_of, speakers=["a"], **how)  # type: ignore[arg-type]
    assert (one.value, one.low) == (2.0, None)
    median = bootstrap_median([[1.0, 3.0], [], [2.0]], speakers=["a", "b", "c"], **how)  # type: ignore[arg-type]
    assert median.value == 2.0
    assert median.n == 3
    assert bootstrap_median([[]], speakers=["a"], **how).value is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("people", "clips"), [(5, 3), (8, 2), (20, 2)])
def test_the_interval_covers_the_truth_of_clips_by_speakers(people: int, clips: int) -> None:
    """Speakers differ as much as their clips; each has one to 2·clips − 1. 90 % or more of the 95 % intervals hold the mean."""
    hits = 0
    for draw in range(200):
        rng = np.random.default_rng([draw, people])
        who = rng.normal(size=people)
        speakers = np.repeat(np.arange(people), rng.integers(1, 2 * clips, people))
        values = 3 + who[speakers] + rng.normal(size=len(speakers))
        sums = np.stack([values, np.ones_like(values)], -1)
        names = [f"{s:02d}" for s in speakers]
        found = bootstrap(sums, mean_of, speakers=names, resamples=300, confidence=0.95, seed=3)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 3 <= found.high
    assert 180 <= hits <= 199


def test_psnr_and_ssim_see_the_mask_only() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 200, (3, 32, 32, 3), dtype=np.uint8)
    mask = np.zeros((3, 32, 32), bool)
    mask[:, 8:24, 8:24] = True
    made = truth.copy()
    made[:, :4] = 255
    assert np.isinf(image.psnr(made, truth, mask)).all()
    made[mask] += 10
    np.testing.assert_allclose(image.psnr(made, truth, mask), 20 * np.log10(255 / 10))
    np.testing.assert_allclose(image.ssim(truth, truth, mask), 1)
    assert (image.ssim(made, truth, mask) < 1).all()
    assert np.isnan(image.psnr(made, truth, np.zeros_like(mask))).all()


def test_ssim_of_a_constant_shift_is_analytic() -> None:
    a, b = np.full((1, 24, 24, 3), 100, np.uint8), np.full((1, 24, 24, 3), 120, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert image.ssim(a, b, np.ones((1, 24, 24), bool))[0] == pytest.approx(expected, rel=1e-9)


def test_hull_crops_hide_what_is_outside() -> None:
    frames = np.full((2, 32, 32, 3), 10, np.uint8)
    mask = np.zeros((2, 32, 32), bool)
    mask[0, 4:20, 10:18] = True
    frames[0][~mask[0]] = 200
    crops = image.hull_crops(frames, mask, 16)
    assert set(np.unique(crops[0])) == {10, 128}
    assert (crops[1] == 128).all()


@given(shift=st.integers(-10, 10))
@settings(max_examples=10, deadline=None)
def test_sync_finds_the_shift(shift: int) -> None:
    rng = np.random.default_rng(4)
    sound = rng.normal(size=(90, 16))
    found = sync(sound[20:70], sound[20 - shift : 70 - shift])
    assert found is not None
    assert found.offset == shift
    assert found.distance == pytest.approx(0, abs=1e-4)
    assert found.confidence > 4


def test_sync_distances_against_the_plain_formula() -> None:
    rng = np.random.default_rng(5)
    video, audio = rng.normal(size=(40, 8)), rng.normal(size=(42, 8))
    padded = np.pad(audio[:40], ((15, 15), (0, 0)))
    expected = [np.mean([np.linalg.norm(video[t] - padded[t + s] + 1e-6) for t in range(40)]) for s in range(31)]
    np.testing.assert_allclose(distances(video, audio, pad=True), expected, rtol=1e-12)
    np.testing.assert_allclose(distances(video, audio)[15], expected[15], rtol=1e-12)
    assert sync(video[:12], audio) is None


def test_principal_components_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(7)
    parts = [rng.normal(size=(n, 5)) @ rng.normal(size=(5, 12)) + 30 for n in (20, 1, 33)]
    mean, axes = leak._principal(iter(parts), 4)
    whole = np.concatenate(parts)
    z = (whole - mean) @ axes
    np.testing.assert_allclose(mean, whole.mean(0))
    np.testing.assert_allclose(z.T @ z / len(whole), np.eye(4), atol=1e-8)  # white
    _, values, axes_of_svd = np.linalg.svd(whole - mean)
    np.testing.assert_allclose(abs(np.sum(axes * axes_of_svd[:4].T, 0)) * values[:4] / np.sqrt(54), 1, rtol=1e-6)


@pytest.mark.parametrize("leaking", [True, False])
def test_planted_leak_is_found(leaking: bool) -> None:
    """A mask that is a little taller where the mouth is open tells the opening; a still one doesn't."""
    rng = np.random.default_rng(6)

    def clip() -> tuple[np.ndarray, np.ndarray]:
        opening = 0.2 + 0.2 * np.sin(rng.uniform(0.2, 0.6) * np.arange(40) + rng.uniform(0, 6))
        y, x = np.mgrid[:64, :64]
        centre = 32 + np.cumsum(rng.normal(size=40) * 0.3)
        tall = 16 + (6 * opening if leaking else 0 * opening)
        masks = ((y - 34) / tall[:, None, None]) ** 2 + ((x - centre[:, None, None]) / 12) ** 2 < 1
        frames = np.clip(rng.normal(120, 8, (40, 64, 64, 3)) + rng.uniform(-30, 30), 0, 255).astype(np.uint8)
        return leak.visible(frames, masks, 24), opening

    train, held = [clip() for _ in range(16)], [clip() for _ in range(6)]
    x, y = map(list, zip(*train, strict=True))
    held_x, held_y = map(list, zip(*held, strict=True))
    for change in (list, leak.centred):
        targets = change(held_y)
        predicted = leak.predict(change(x), change(y), change(held_x), components=64)
        found = leak.r2(np.sum([leak.sums(a, b) for a, b in zip(targets, predicted, strict=True)], 0))
        assert found > 0.8 if leaking else found < 0.1


def test_the_heads_place_is_the_similarity_from_the_first_frame_and_its_turn() -> None:
    rng = np.random.default_rng(8)
    face = rng.uniform(20, 44, (68, 2))
    turn = 1.05 * np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    middle = face[RIGID].mean(0)
    moved = (face - middle) @ turn.T + middle + [3, -2]
    found = leak.place(np.stack([face, moved])) / 100
    assert found[0] == pytest.approx(np.zeros(6), abs=1e-12)
    apart = np.linalg.norm(face[36] - face[45])
    assert found[1] == pytest.approx([turn[0, 0] - 1, turn[1, 0], 3 / apart, -2 / apart, 0, 0], abs=1e-12)
    turned = np.stack([face] * 12)
    turned[6:, 29:31] += apart * (across := (face[45] - face[36]) / apart) / 8  # the nose's tip, towards the left eye
    assert across @ across == pytest.approx(1)
    found = leak.place(turned)[:, 4:] / 100
    assert found[[0, 3]] == pytest.approx(np.zeros((2, 2)), abs=1e-12)
    assert found[-1] == pytest.approx([1 / 8, 0])


def test_r2_of_the_mean_is_zero() -> None:
    y = np.arange(10.0)
    assert leak.r2(leak.sums(y, np.full(10, y.mean()))) == pytest.approx(0)
    assert leak.r2(leak.sums(y, y)) == pytest.approx(1)


def test_checkerboard_is_seen_and_texture_is_not() -> None:
    rng = np.random.default_rng(7)
    truth = rng.integers(60, 180, (2, 64, 64, 3), dtype=np.uint8)
    mask = np.ones((2, 64, 64), bool)
    y, x = np.mgrid[:64, :64]
    plain = artefacts.grid_energy(truth, mask).mean()
    for pattern in ((x + y) % 2, x % 2, y % 2):
        grid = np.clip(truth + 16.0 * (2 * pattern - 1)[..., None], 0, 255).astype(np.uint8)
        assert (artefacts.grid_energy(grid, mask) > 5 * plain).all()
    other = rng.integers(60, 180, truth.shape, dtype=np.uint8)
    assert artefacts.grid_energy(other, mask).mean() == pytest.approx(plain, rel=0.2)


def test_ghost_edge_is_seen_at_the_border_alone() -> None:
    truth = np.full((1, 64, 64, 3), 100, np.uint8)
    truth[:] += np.arange(64, dtype=np.uint8)[:, None]
    mask = np.zeros((1, 64, 64), bool)
    mask[:, 16:48, 16:48] = True
    pasted = truth.copy()
    pasted[mask] += 20
    inside = truth.copy()
    inside[:, 24:40, 24:40] += 20
    true = artefacts.border_gradient(truth, mask)
    assert artefacts.border_gradient(pasted, mask) > 3 * true
    assert artefacts.border_gradient(inside, mask) == pytest.approx(true)


def test_landmark_distance_of_a_known_shift() -> None:
    rng = np.random.default_rng(8)
    true = rng.uniform(0, 64, (3, 68, 2))
    true[:, 36], true[:, 45] = (10, 20), (40, 20)  # 30 pixels apart
    made = true.copy()
    made[:, 48:68, 0] += 3
    made[2] = np.nan
    found = likeness.landmark_distance(made, true)
    np.testing.assert_allclose(found["lmd_mouth_px"], [3, 3, np.nan])
    np.testing.assert_allclose(found["lmd_mouth"], [0.1, 0.1, np.nan])
    np.testing.assert_allclose(found["lmd_px"], [60 / 68, 60 / 68, np.nan])
    np.testing.assert_allclose(found["lmd"], [2 / 68, 2 / 68, np.nan])


def test_identity_of_known_descriptors() -> None:
    true = np.zeros((4, 128))
    true[:, 0] = 1.3
    true[3] = np.nan  # no face in the truth: the frame does not count
    made = true.copy()
    made[1, 1] = 0.61  # another person
    made[2] = np.nan  # no face in the video: not the same person
    found = likeness.identity(made, true)
    np.testing.assert_allclose(found["same_person"], [1, 0, 0, np.nan])
    np.testing.assert_allclose(found["csim"], [1, 1.3 / np.hypot(1.3, 0.61), np.nan, np.nan])
    np.testing.assert_allclose(found["csim_reference"][:2], found["csim"][:2])


def smooth_face(frames: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of even skin, the landmarks of a face on them, and a mask over all."""
    landmarks = landmarks_of(np.random.default_rng(9), frames, 64).astype(np.float64)
    skin = np.full((frames, 64, 64, 3), 100, np.uint8) + np.arange(64, dtype=np.uint8)[:, None] // 4
    return skin, landmarks, np.ones((frames, 64, 64), bool)


def test_streaks_beside_the_mouth_are_seen_and_the_mouth_itself_is_not() -> None:
    skin, landmarks, masks = smooth_face()
    true = artefacts.mouth_streaks(skin, landmarks, masks)
    (left, right), y = landmarks[0, [48, 54], 0], round(landmarks[0, 48, 1])
    streaked = skin.copy()
    streaked[:, y, round(right) + 3 : round(right) + 7] -= 40
    assert (artefacts.mouth_streaks(streaked, landmarks, masks) > 3 * true).all()
    spoken = skin.copy()
    spoken[:, y - 1 : y + 2, round(left) + 2 : round(right) - 1] = 20  # an open mouth is no streak
    np.testing.assert_allclose(artefacts.mouth_streaks(spoken, landmarks, masks), true)
    masks[:, :, round(right) + 1 :] = False  # nor is what was not generated
    assert (artefacts.mouth_streaks(streaked, landmarks, masks) < 1.5 * true).all()


def test_a_second_brow_is_a_ghost_and_the_brow_itself_is_not() -> None:
    skin, landmarks, masks = smooth_face()
    true = artefacts.brow_ghosts(skin, landmarks, masks)
    x, y = landmarks[0, 17:22, 0].round().astype(int), round(landmarks[0, 17, 1])
    browed, ghost = skin.copy(), skin.copy()
    browed[:, y, x[1] : x[3]] = 30
    ghost[:, y - 4, x[1] : x[3]] = 30
    np.testing.assert_allclose(artefacts.brow_ghosts(browed, landmarks, masks), true)
    assert (artefacts.brow_ghosts(ghost, landmarks, masks) > 3 * true).all()


def test_white_in_a_shut_lid_is_seen_where_the_lid_is_shut_alone() -> None:
    skin, landmarks, _ = smooth_face()
    ear = np.array([0.3, 0.29, 0.2, 0.12, 0.19, 0.3, 0.31])
    slit = skin.copy()
    for x, y in landmarks[0, [37, 38, 43, 44]].round().astype(int):
        slit[:, y - 1 : y + 2, x : x + 2] = 250
    plain, white = (artefacts.lid_light(frames, landmarks, ear) for frames in (skin, slit))
    assert np.isfinite(plain).tolist() == [False, False, False, True, False, False, False]
    assert white[3] > 1.5 * plain[3]
