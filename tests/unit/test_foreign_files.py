"""Foreign files in people's folders of videos: each works or is refused with its reason, and none opens another file."""

import av
import cv2
import numpy as np
import pytest

from stages import media
from stages.base.errors import ClipError
from stages.media import display, sound, video
from tests.unit.variants import squeezed


def test_4k_is_read(tmp_path):
    picture = np.full((2160, 3840, 3), 90, np.uint8)
    media.write_video(
        tmp_path / "4k.mp4", [picture] * 3, fps=25, audio=None, sample_rate=16000, crf=40, preset="ultrafast"
    )
    shown = list(media.pictures(tmp_path / "4k.mp4", fps=25))
    assert [media.Converter().luma(picture).shape for picture in shown] == [(2160, 3840)] * 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_an_image_is_no_video(tmp_path, suffix):
    path = tmp_path / f"one.{suffix}"
    cv2.imwrite(str(path), np.full((40, 40, 3), 90, np.uint8))
    with pytest.raises(ClipError, match="clip one: not a readable video"):
        media.decode(path, fps=25)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile secret.mp4\nduration 1\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile secret.mp4\nduration 1\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:secret.mp4\n#EXT-X-ENDLIST\n"),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n"),
    ],
)
@pytest.mark.parametrize("given", ["path", "bytes"])
def test_a_playlist_opens_no_other_file(tmp_path, monkeypatch, name, text, given):
    monkeypatch.chdir(tmp_path)
    frames = np.full((5, 32, 32, 3), 90, np.uint8)
    media.write_video(tmp_path / "secret.mp4", frames, fps=25, audio=None, sample_rate=16000, crf=30)
    (tmp_path / name).write_text(text)
    source = tmp_path / name if given == "path" else text.encode()
    for read in (lambda: media.decode(source, fps=25), lambda: media.decode_audio(source, 16000)):
        with pytest.raises(ClipError, match="not a readable video"):
            read()


def test_a_change_of_size_within_a_clip_is_named(tmp_path):
    with av.open(str(tmp_path / "grows.ts"), "w", format="mpegts") as out:
        for side in (32, 64):
            encoder = av.CodecContext.create("mpeg4", "w")
            encoder.width = encoder.height = side
            encoder.pix_fmt, encoder.time_base = "yuv420p", media.rate(25) ** -1
            if side == 32:
                stream = out.add_stream("mpeg4", rate=25)
                stream.width = stream.height = side
                stream.pix_fmt = "yuv420p"
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), 90, np.uint8), format="rgb24")
                frame.pts = number + (10 if side == 64 else 0)
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    out.mux(packet)
            for packet in encoder.encode(None):
                packet.stream = stream
                out.mux(packet)
    with pytest.raises(ClipError, match="the picture's size changes from 32x32 to 64x64"):
        media.decode(tmp_path / "grows.ts", fps=25)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    media.write_video(
        tmp_path / "a.mp4", np.zeros((5, 64, 64, 3), np.uint8), fps=25, audio=None, sample_rate=16000, crf=30
    )
    assert len(media.decode(tmp_path / "a.mp4", fps=25)) == 5
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(ClipError, match=r"clip a: .*(damaged|not a readable video|no video)"):
        media.decode(tmp_path / "a.mp4", fps=25)


def test_a_picture_of_too_many_pixels_once_they_are_square_is_refused(tmp_path, monkeypatch):
    wide = tmp_path / "a.mp4"
    squeezed(wide, np.zeros((5, 64, 96, 3), np.uint8))
    assert media.decode(wide, fps=25).shape[1:3] == (64, 96)
    monkeypatch.setattr(display, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(
        ClipError, match=r"clip a: its pictures are 96x64 once their pixels are square; scale them down"
    ):
        media.decode(wide, fps=25, clip="a")


def test_a_clip_of_hours_is_refused(tmp_path, monkeypatch):
    frames, hum = np.zeros((50, 32, 32, 3), np.uint8), np.ones(32000, np.float32) / 2
    media.write_video(tmp_path / "a.mp4", frames, fps=25, audio=hum, sample_rate=16000, crf=30)
    for module in (video, sound):
        monkeypatch.setattr(module, "MAX_S", 1.0)
    with pytest.raises(ClipError, match=r"longer than 0 hours; cut it"):
        media.decode(tmp_path / "a.mp4", fps=25)
    with pytest.raises(ClipError, match=r"sound is longer than 0 hours; cut it"):
        media.decode_audio(tmp_path / "a.mp4", 16000)


def test_ten_minutes_are_read_one_picture_at_a_time(tmp_path):
    seconds = 600
    pictures = (np.full((16, 16, 3), number % 200, np.uint8) for number in range(25 * seconds))
    tone = np.sin(np.arange(16000 * seconds) / 7).astype(np.float32)
    how = {"fps": 25, "audio": tone, "sample_rate": 16000, "crf": 40, "preset": "ultrafast"}
    media.write_video(tmp_path / "long.mp4", pictures, **how)
    assert sum(1 for _ in media.pictures(tmp_path / "long.mp4", fps=25)) == 25 * seconds
    assert len(media.decode_audio(tmp_path / "long.mp4", 16000)) == pytest.approx(16000 * seconds, abs=2048)
