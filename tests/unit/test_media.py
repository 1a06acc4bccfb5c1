"""stages/media and stages/store/tars.py: determinism, the common time base of sound and picture, damaged files, tars."""

import contextlib
import io
import tarfile
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from stages import mask, media
from stages.base.errors import ClipError, InputError
from stages.media.writing import CHROMA
from stages.store import tars

RATE = 16000
CLICK = np.sin(np.arange(160) * 2 * np.pi * 1000 / RATE) * 0.8


def flashes(path, fps, flash_frames, frames=61, crf=10):
    """Grey frames with white ones where a click sounds at the same moment."""
    exact = float(media.rate(fps))
    pictures = np.full((frames, 64, 80, 3), 40, np.uint8)
    audio = np.zeros(round(frames / exact * RATE), np.float32)
    for frame in flash_frames:
        pictures[frame] = 220
        start = round(frame / exact * RATE)
        audio[start : start + len(CLICK)] = CLICK
    media.write_video(path, pictures, fps=fps, audio=audio, sample_rate=RATE, crf=crf)
    return pictures, audio


def onsets(audio):
    loud = np.flatnonzero(np.abs(audio) > 0.25)
    return loud[np.concatenate([[True], np.diff(loud) > 1000])] / RATE


@pytest.mark.parametrize(
    ("fps", "numerator", "denominator"), [(25, 25, 1), (29.97, 30000, 1001), (23.976, 24000, 1001), (12.5, 25, 2)]
)
def test_rate(fps, numerator, denominator):
    assert (media.rate(fps).numerator, media.rate(fps).denominator) == (numerator, denominator)


def test_same_input_gives_the_same_bytes(tmp_path):
    flashes(tmp_path / "a.mp4", 29.97, [5])
    flashes(tmp_path / "b.mp4", 29.97, [5])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_colours_survive(tmp_path):
    ramp = np.stack(np.meshgrid(np.linspace(20, 230, 80), np.linspace(20, 230, 64)), -1)
    picture = np.concatenate([ramp, np.full((64, 80, 1), 120)], -1).astype(np.uint8)
    media.write_video(tmp_path / "a.mp4", [picture] * 5, fps=25, audio=None, sample_rate=RATE, crf=4)
    found = media.decode(tmp_path / "a.mp4", fps=25)
    assert found.shape == (5, 64, 80, 3)
    assert np.abs(found.astype(int) - picture).mean() < 2.5


def test_colours_at_all_pixels_cost_no_detail(tmp_path):
    """4:2:0 smears what differs in colour alone; 4:4:4 keeps it."""
    y, x = np.mgrid[:64, :64]
    picture = np.where(((x // 3 + y // 3) % 2 == 0)[..., None], (200, 90, 90), (90, 138, 90)).astype(np.uint8)
    errors = {}
    for chroma, pixels in CHROMA.items():
        path = tmp_path / f"{pixels}.mp4"
        media.write_video(path, [picture] * 5, fps=25, audio=None, sample_rate=RATE, crf=10, chroma=chroma)
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == pixels
        errors[chroma] = np.abs(media.decode(path, fps=25).astype(int) - picture).mean()
    assert errors["yuv444"] < 4 < 10 < errors["yuv420"]
    with pytest.raises(KeyError):
        media.write_video(tmp_path / "a.mp4", [picture], fps=25, audio=None, sample_rate=RATE, crf=10, chroma="yuv411")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_crop_of_the_planes_is_the_crop_of_the_picture(tmp_path, rotation):
    """Inside the picture and beyond its edge, enlarged and shrunk; and its colours are nearer to those that were written."""
    ramp = np.stack(np.meshgrid(np.linspace(20, 230, 96), np.linspace(20, 230, 64)), -1)
    picture = np.concatenate([ramp, np.full((64, 96, 1), 120)], -1).astype(np.uint8)
    media.write_video(tmp_path / "a.mp4", [picture] * 2, fps=25, audio=None, sample_rate=RATE, crf=1)
    shown = replace(next(media.pictures(tmp_path / "a.mp4", fps=25)), rotation=rotation)
    true, converter = np.rot90(picture, rotation // 90), media.Converter()
    for crop in ((8, 6, 40), (-10, 20, 70), (4, 2, 24)):
        planes = mask.face_picture(shown, converter, crop, 32).astype(float)
        whole, expected = (media.cut(image, crop, 32).astype(float) for image in (converter.rgb(shown), true))
        assert 10 * np.log10(255**2 / np.square(planes - whole).mean()) > 38
        assert np.abs((planes - expected).mean((0, 1))).max() < 1.0
        assert np.abs((planes - expected).mean()) <= np.abs((whole - expected).mean())


@pytest.mark.parametrize("space", [1, 6], ids=["BT.709", "BT.601"])
@pytest.mark.parametrize("full", [False, True])
def test_colour_spaces_and_ranges_are_the_scalers(space, full):
    """A frame of flat patches as it says what it is, against FFmpeg's own conversion."""
    rng = np.random.default_rng(0)
    planes = [np.kron(rng.integers(60, 190, (4, 4), dtype=np.uint8), np.ones((n, n), np.uint8)) for n in (16, 8, 8)]
    frame = av.VideoFrame.from_ndarray(
        np.concatenate([plane.ravel() for plane in planes]).reshape(96, 64), format="yuv420p"
    )
    frame.colorspace, frame.color_range = space, 2 if full else 1
    shown, converter = media.Picture(0, frame, False, 0), media.Converter()
    found = mask.face_picture(shown, converter, (0, 0, 64), 64).astype(float)
    whole = converter.rgb(shown).astype(float)
    inner = np.kron(np.ones((4, 4), bool), np.pad(np.ones((8, 8), bool), 4))
    assert np.abs(found - whole)[inner].max() <= 3


def test_other_formats_and_odd_sides_are_converted_whole():
    for shape, name in (((64, 64, 3), "rgb24"), ((62, 63, 3), "rgb24")):
        frame = av.VideoFrame.from_ndarray(np.full(shape, 90, np.uint8), format=name)
        for shown in (frame, frame.reformat(format="yuv420p" if shape[1] % 2 else "yuv422p")):
            picture = media.Picture(0, shown, False, 0)
            assert media.Converter().planes(picture) is None
            assert abs(mask.face_picture(picture, media.Converter(), (10, 10, 32), 16).mean() - 90) < 2


@pytest.mark.parametrize("fps", [23.976, 25, 29.97, 30])
def test_flash_and_click_stay_together(tmp_path, fps):
    """Sound is exact; a flash stands on a frame of the 25 fps grid that is nearest to its own time."""
    flash_frames = [10, 25, 43]
    flashes(tmp_path / "a.mp4", fps, flash_frames)
    true = np.array(flash_frames) / float(media.rate(fps))
    assert np.abs(onsets(media.decode_audio(tmp_path / "a.mp4", RATE)) - true).mean() < 0.001
    shown = list(media.pictures(tmp_path / "a.mp4", fps=25))
    assert [picture.number for picture in shown] == list(range(len(shown)))
    for picture in shown:  # each output frame is the nearest source frame
        assert abs(picture.frame.time - picture.number / 25) <= 0.5 / float(media.rate(fps)) + 1e-6
    assert abs(len(shown) / 25 - 61 / float(media.rate(fps))) <= 0.5 / 25 + 1e-6


def test_late_audio_is_placed_by_its_timestamp(tmp_path):
    """The audio stream starts 0.5 s after the video."""
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate=30), out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        for number in range(45):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        samples = np.zeros((1, RATE), np.int16)
        samples[0, 4000:4160] = (CLICK * 32000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, RATE // 2
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    assert onsets(media.decode_audio(path, RATE)) == pytest.approx([0.75], abs=0.001)


def test_resampling_averages_the_channels(tmp_path):
    path = tmp_path / "stereo.wav"
    tone = np.sin(np.arange(44100) * 2 * np.pi * 440 / 44100) * 16000
    with av.open(str(path), "w") as out:
        sound = out.add_stream("pcm_s16le", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.stack([tone, np.zeros(44100)], 1).reshape(1, -1).astype(np.int16), layout="stereo"
        )
        frame.sample_rate = 44100
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    audio = media.decode_audio(path, RATE)
    assert len(audio) == RATE
    expected = np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE) * 8000 / 32768
    assert np.abs(audio - expected)[200:-200].max() < 1e-3


def test_luma_is_the_y_plane(tmp_path):
    flashes(tmp_path / "a.mp4", 25, [3], frames=6)
    converter = media.Converter()
    lumas = [converter.luma(picture) for picture in media.pictures(tmp_path / "a.mp4", fps=25)]
    assert lumas[0].shape == (64, 80)
    assert lumas[3].mean() > lumas[0].mean() + 100


def test_pictures_are_turned_upright(tmp_path):
    """A phone held upright writes its picture lying, with a matrix that says: turn 90 degrees clockwise."""
    lying = np.zeros((64, 96, 3), np.uint8)
    lying[:32] = 255  # the upper half is white: the right half, once upright
    media.write_video(tmp_path / "a.mp4", [lying] * 5, fps=25, audio=None, sample_rate=RATE, crf=10)
    content = (tmp_path / "a.mp4").read_bytes()
    unit, none, minus = (value.to_bytes(4, "big", signed=True) for value in (1 << 16, 0, -(1 << 16)))
    header = content.index(b"tkhd")
    as_written, turned = unit + none * 3 + unit, none + unit + none + minus + none
    content = content[:header] + content[header:].replace(as_written, turned, 1)
    upright = media.decode(content, fps=25)
    assert upright.shape == (5, 96, 64, 3)
    assert upright[0, :, 40:].min() > 230
    assert upright[0, :, :24].max() < 30
    picture = next(media.pictures(content, fps=25))
    assert media.Converter().luma(picture).shape == (96, 64)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"just a text\n" * 50, "not a readable video"), (b"\0" * 5000, "not a readable video")],
)
def test_other_files_are_refused(content, reason):
    with pytest.raises(ClipError, match=reason):
        media.decode(content, fps=25, clip="ada_s01")
    with pytest.raises(ClipError, match=reason):
        media.decode_audio(content, RATE, clip="ada_s01")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.9])
def test_truncated_files_are_refused(tmp_path, share):
    flashes(tmp_path / "a.mp4", 25, [5, 30], frames=100, crf=1)
    content = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(ClipError, match=r"truncated|damaged|no video stream"):
        media.decode(content[: int(share * len(content))], fps=25)


def test_damaged_bytes_never_crash(tmp_path):
    flashes(tmp_path / "a.mp4", 25, [5, 30])
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(15):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 40):
            damaged[position] = rng.integers(256)
        for read in (lambda d: media.decode(d, fps=25), lambda d: media.decode_audio(d, RATE)):
            with contextlib.suppress(ClipError):
                read(bytes(damaged))


def test_no_audio_is_named(tmp_path):
    media.write_video(
        tmp_path / "mute.mp4", np.zeros((5, 64, 64, 3), np.uint8), fps=25, audio=None, sample_rate=RATE, crf=20
    )
    with pytest.raises(ClipError, match="clip mute: no audio stream"):
        media.decode_audio(tmp_path / "mute.mp4", RATE)


def test_no_half_written_file(tmp_path):
    def fails():
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("renderer failed")

    with pytest.raises(RuntimeError):
        media.write_video(tmp_path / "a.mp4", fails(), fps=25, audio=None, sample_rate=RATE, crf=20)
    assert list(tmp_path.iterdir()) == []


def test_tar_round_trip_and_determinism(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"from a file")
    clips = [{"clip": "a", "file": "a.mp4"}]
    for name in ("1.tar", "2.tar"):
        members = [(tars.CLIPS, tars.json_bytes(clips)), ("a.mp4", tmp_path / "file.bin")]
        tars.write(tmp_path / name, members)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    assert tars.listing(tmp_path / "1.tar") == clips
    assert tars.names(tmp_path / "1.tar") == [tars.CLIPS, "a.mp4"]
    assert tars.read(tmp_path / "1.tar", "a.mp4") == b"from a file"
    with tarfile.open(tmp_path / "1.tar") as tar:
        assert tar.getmembers()[1].mtime == 0


def test_a_tar_holds_files_larger_than_a_plain_header_can_say(tmp_path, monkeypatch):
    info = tarfile.TarInfo("x")
    for size, wanted in (
        (tars.LARGE - 1, contextlib.nullcontext()),
        (tars.LARGE, pytest.raises(ValueError, match="overflow")),
    ):
        info.size = size
        with wanted:
            info.tobuf(tarfile.USTAR_FORMAT)
    monkeypatch.setattr(tars, "LARGE", 6)
    video = tmp_path / "video"
    video.write_bytes(b"larger")
    tars.write(tmp_path / "a.tar", [("small", b"small"), ("large", video), ("again", b"small")])
    content = (tmp_path / "a.tar").read_bytes()
    assert [content[at + 257 :][:8] for at in (0, 1024, 2048)] == [b"ustar\x0000", b"ustar  \0", b"ustar\x0000"]
    assert tars.names(tmp_path / "a.tar") == ["small", "large", "again"]
    assert tars.read(tmp_path / "a.tar", "large") == b"larger"


def test_tar_errors_name_the_file_and_the_fix(tmp_path):
    tars.write(tmp_path / "a.tar", [("x", b"")])
    (tmp_path / "b.tar").write_bytes(b"no tar")
    for path in ("a.tar", "b.tar", "missing.tar"):
        with pytest.raises(InputError, match=rf"{path}: .*; .*snakemake"):
            tars.listing(tmp_path / path)


def test_a_clip_decodes_from_an_open_file(tmp_path):
    flashes(tmp_path / "a.mp4", 25, [3], frames=6)
    content = (tmp_path / "a.mp4").read_bytes()
    assert np.array_equal(media.decode(io.BytesIO(content), fps=25), media.decode(tmp_path / "a.mp4", fps=25))


@pytest.mark.parametrize(("rate", "late"), [(48_000, 0.0), (44_100, 0.25), (16_000, -0.1)])
def test_a_stored_sound_is_the_decoded_one_piece_by_piece(tmp_path, rate, late) -> None:
    """Longer than a piece; before the first picture it is left out, and where it is late there is silence."""
    path = tmp_path / "a.mkv"
    sound = np.random.default_rng(0).normal(scale=0.1, size=30 * rate).astype(np.float32)
    with av.open(str(path), "w") as out:
        video, heard = out.add_stream("mpeg4", rate=25), out.add_stream("flac", rate=rate, layout="mono")
        video.width = video.height = 16
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 25, Fraction(1, 25)
        out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for start in range(0, len(sound), 4096):
            part = av.AudioFrame.from_ndarray(
                media.to_int16(sound[None, start : start + 4096]), format="s16", layout="mono"
            )
            part.sample_rate, part.pts, part.time_base = rate, round((1 + late) * rate) + start, Fraction(1, rate)
            out.mux(heard.encode(part))
        out.mux(heard.encode(None))
    stored = media.store_audio(path)
    for to in (rate, 16_000, 48_000):
        pieces = list(stored.pieces(to))
        assert len(pieces) > 1 or 30 * rate < 2**20
        assert np.array_equal(np.concatenate(pieces), media.decode_audio(path, to))
    part = np.concatenate(list(media.store_audio(path, until=2.0).pieces(rate)))
    assert 2.0 <= len(part) / rate < 3.5
    whole, middle = media.decode_audio(path, rate), slice(rate // 2, rate)
    apart = rate // 1000  # stamps are rounded to a millisecond, and fewer of them tell where the sound begins
    assert any(np.array_equal(part[middle], whole[rate // 2 + n : rate + n]) for n in range(-apart, apart + 1))
