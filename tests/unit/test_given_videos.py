"""Videos from elsewhere, brought onto the clips' frames: what is lost is put back, what can't be is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import fake_run
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from stages import media
from stages.base.errors import InputError
from stages.clips import corpus
from stages.clips.clip import Clip
from stages.methods.kinds import videos
from stages.methods.systems import Row
from stages.store import schemas, tables, tars
from tests.unit.variants import SHOWN_AS_PLAIN, psnr, rendered

CLIP, SIZE = "ada_s09", 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "data" / "fakeothers"
    fake_run.make(folder, fake_run.others(), record=False)
    return folder


@pytest.fixture
def row(data: Path, tmp_path: Path) -> Callable[..., Row]:
    """The row, with other settings of its kind; its videos lie in ``tmp_path``."""

    def made(**settings: Any) -> Row:
        params = fake_run.others()
        entry = params.methods["theirs"]
        entry = entry.model_copy(update={"settings": entry.settings | settings})
        changed = params.model_copy(update={"methods": params.methods | {"theirs": entry}})
        link = data / "videos" / "theirs"
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path)
        return Row(changed, data, "theirs", lambda frames: None)

    return made


def clip(data: Path) -> Clip:
    return corpus.load(data, "ada", CLIP, size=SIZE, dilation=0.12)


def levels(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean grey of each frame, which :func:`write` makes five times its number."""
    return frames.reshape(len(frames), -1).mean(1) / 5


def write(path: Path, count: int, *, fps: float = 25, size: int = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [np.full((size, size, 3), 5 * number, np.uint8) for number in range(count)]
    media.write_video(path, frames, fps=fps, audio=None, sample_rate=16000, crf=1)


def render(row: Row, given: Clip) -> NDArray[np.uint8]:
    return np.concatenate(list(videos.renderer(row)(given, given)))


def test_what_was_lost_at_either_end_is_repeated(row: Callable[..., Row], data: Path, tmp_path: Path) -> None:
    given = clip(data)
    count = len(given.frames_THWC)
    write(tmp_path / "some" / "folder" / f"{CLIP}.mp4", count - 4)
    own = row(lost_at_start=2, lost_at_end=2)
    found = levels(render(own, given))
    expected = [0, 0, *range(count - 4), count - 5, count - 5]
    assert found == pytest.approx(expected, abs=0.5)
    assert own.notes[CLIP] == {"repeated_at_start": 2, "repeated_at_end": 2, "cut_at_end": 0}


def test_frames_too_many_are_cut_and_other_rates_and_sizes_are_brought_to_ours(
    row: Callable[..., Row], data: Path, tmp_path: Path
) -> None:
    given = clip(data).head(20)
    write(tmp_path / f"{CLIP}.mp4", 42, fps=50, size=96)
    own = row()
    made = render(own, given)
    assert made.shape == given.frames_THWC.shape
    assert levels(made) == pytest.approx(2 * np.arange(20), abs=0.6)
    assert own.notes[CLIP]["cut_at_end"] == 1


@pytest.mark.parametrize(
    ("given_frames", "fps", "lost", "expected"),
    [
        (60, 25, (0, 2), [*range(60), 59, 59]),  # Wav2Lip
        (59, 25, (2, 1), [0, 0, *range(59), 58]),  # PC-AVS
        (61, 25, (0, 1), [*range(61), 60]),  # EAMM
        (138, 62.5, (0, 7), [*np.arange(55) * 2.5, *[135] * 7]),  # MakeItTalk
    ],
)
def test_what_published_programs_make_of_62_frames_is_restored(
    given_frames: int,
    fps: float,
    lost: tuple[int, int],
    expected: list[float],
    row: Callable[..., Row],
    data: Path,
    tmp_path: Path,
) -> None:
    given, panels = clip(data), 3 if fps == 62.5 else 1
    given = replace(
        given,
        frames_THWC=np.zeros((62, SIZE, SIZE, 3), np.uint8),
        landmarks_TL2=np.repeat(given.landmarks_TL2[:1], 62, 0),
    )
    step = 1.5  # grey levels a frame
    frames = np.zeros((given_frames, SIZE, panels * SIZE, 3), np.uint8)
    middle = frames[:, :, SIZE * (panels // 2) : SIZE * (panels // 2 + 1)]
    middle[...] = np.round(step * np.arange(given_frames))[:, None, None, None]
    media.write_video(tmp_path / f"{CLIP}.mp4", frames, fps=fps, audio=None, sample_rate=16000, crf=1, chroma="yuv444")
    own = row(lost_at_start=lost[0], lost_at_end=lost[1], panel=[panels // 2 + 1, panels])
    made = render(own, given)
    assert len(made) == 62
    found = made.reshape(62, -1).mean(1) / step
    assert found == pytest.approx(expected, abs=1.1), "62.5 a second lie between two of ours"


def test_panels_that_are_not_there_are_refused(row: Callable[..., Row], data: Path, tmp_path: Path) -> None:
    write(tmp_path / f"{CLIP}.mp4", 10)
    with pytest.raises(
        InputError, match=r"pictures of 64 pixels, which are not 3 of one width .*theirs\.settings\.panel"
    ):
        render(row(panel=[2, 3]), clip(data))
    with pytest.raises(ValidationError, match=r"there is no picture 4 of 3"):
        render(row(panel=[4, 3]), clip(data))


def take_for_source(data: Path, width: int, height: int) -> None:
    """Let the clip's own video have this size."""
    path = data.parent / "source.mp4"
    media.write_video(path, [np.zeros((height, width, 3), np.uint8)] * 3, fps=25, audio=None, sample_rate=16000, crf=20)
    entry = {"clip": CLIP, "file": f"{CLIP}.mp4"}
    tars.write(data / "raw" / "ada.tar", [(tars.CLIPS, tars.json_bytes([entry])), (entry["file"], path)])


@pytest.mark.parametrize("factor", [0.5, 1.5, 2])
def test_whole_frames_of_another_size_are_scaled_before_they_are_cut(
    factor: float, row: Callable[..., Row], data: Path, tmp_path: Path
) -> None:
    given = clip(data)
    x, y, side = corpus.crop(data, "ada", CLIP)
    width, height = 2 * (x + side), 2 * (y + side)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    picture = np.stack([127 + 100 * np.sin(across / 9), 127 + 100 * np.sin(down / 7), 90 + 0 * down], -1).astype(
        np.uint8
    )
    take_for_source(data, width, height)

    def made(size: tuple[int, int]) -> tuple[NDArray[np.uint8], Row]:
        frames = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA)] * len(given.frames_THWC)
        media.write_video(
            tmp_path / f"{CLIP}.mp4", frames, fps=25, audio=None, sample_rate=16000, crf=1, chroma="yuv444"
        )
        own = row(shows="frame")
        return render(own, given), own

    same, own = made((width, height))
    assert "scaled_from" not in own.notes[CLIP]
    size = round(width * factor), round(height * factor)
    other, own = made(size)
    assert psnr(same, other) > 30, "a cut at the source's pixels would give some 10 dB"
    assert own.notes[CLIP]["scaled_from"] == f"{size[0]}x{size[1]}"


def test_whole_frames_of_another_shape_are_refused(row: Callable[..., Row], data: Path, tmp_path: Path) -> None:
    take_for_source(data, 480, 360)
    frames = np.zeros((50, 360, 640, 3), np.uint8)
    media.write_video(tmp_path / f"{CLIP}.mp4", frames, fps=25, audio=None, sample_rate=16000, crf=20)
    with pytest.raises(
        InputError, match=f"{CLIP}.mp4: pictures of 640x360, the clip's are 480x360, .* another shape; give"
    ):
        render(row(shows="frame"), clip(data))


def test_whole_frames_are_cut_as_the_clip_was(row: Callable[..., Row], data: Path, tmp_path: Path) -> None:
    given = clip(data)
    x, y, side = corpus.crop(data, "ada", CLIP)
    picture = np.zeros((y + side + 20, x + side + 40, 3), np.uint8)
    picture[y : y + side // 2, x : x + side] = 250
    frames = [picture] * len(given.frames_THWC)
    media.write_video(tmp_path / f"{CLIP}.mp4", frames, fps=25, audio=None, sample_rate=16000, crf=1)
    take_for_source(data, picture.shape[1], picture.shape[0])
    made = render(row(shows="frame"), given)
    assert made.shape == given.frames_THWC.shape
    assert made[:, : SIZE // 2 - 2].min() > 235
    assert made[:, SIZE // 2 + 2 :].max() < 20


@pytest.mark.parametrize("how", SHOWN_AS_PLAIN)
def test_pictures_are_decoded_as_a_player_shows_them(
    how: str, row: Callable[..., Row], data: Path, tmp_path: Path
) -> None:
    frames = rendered()[0][:, :, 30:210]
    given = clip(data).head(len(frames))
    media.write_video(tmp_path / f"{CLIP}.mp4", frames, fps=25, audio=None, sample_rate=16000, crf=4)
    plain = render(row(), given)
    SHOWN_AS_PLAIN[how](tmp_path / f"{CLIP}.mp4", frames)
    assert psnr(render(row(), given), plain) >= 35


@pytest.mark.parametrize(
    ("names", "frames", "message"),
    [
        ([], 0, "no video in it"),
        (["bela_s09.mp4"], 50, f"no video {CLIP}"),
        ([f"a/{CLIP}.mp4", f"b/{CLIP}.mp4"], 50, "another video of this name"),
        ([f"{CLIP}.mp4"], 20, "too few after 0 lost at the start"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    names: list[str], frames: int, message: str, row: Callable[..., Row], data: Path, tmp_path: Path
) -> None:
    for name in names:
        write(tmp_path / name, frames)
    with pytest.raises(InputError, match=message):
        render(row(), clip(data))


def test_a_damaged_video_is_named(row: Callable[..., Row], data: Path, tmp_path: Path) -> None:
    (tmp_path / f"{CLIP}.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=f"{CLIP}.mp4"):
        render(row(), clip(data))


def test_a_picture_that_is_not_square_is_no_face_crop(row: Callable[..., Row], data: Path, tmp_path: Path) -> None:
    frames = np.zeros((50, 64, 96, 3), np.uint8)
    media.write_video(tmp_path / f"{CLIP}.mp4", frames, fps=25, audio=None, sample_rate=16000, crf=1)
    with pytest.raises(
        InputError, match=f"{CLIP}.mp4: pictures of 96x64, .*; .* set methods.theirs.settings.shows to frame"
    ):
        render(row(), clip(data))


def test_the_crop_is_the_recorded_one(data: Path) -> None:
    crop = tables.read(data / "faces" / "ada.parquet", schemas.FACES, ["crop"]).to_pylist()[0]["crop"]
    assert list(corpus.crop(data, "ada", CLIP)) == crop
