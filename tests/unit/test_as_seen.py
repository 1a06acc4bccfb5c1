"""Pictures as people see them: a rendered clip as cameras and programs store it, against the plain clip's decoded frames."""

import itertools
from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from stages import mask, media
from stages.base.errors import ClipError
from stages.media import display
from tests.unit.variants import FPS, film, psnr, rendered, squeezed, with_matrix, woven

CLOSE_DB, HDR_DB = 35.0, 28.0

# The display matrix (a, b, c, d), by which the stored pixel (x, y) is shown at (a·x + c·y, b·x + d·y), and what that does.
ORIENTATIONS = {
    "as stored": ((1, 0, 0, 1), lambda x: x),
    "a quarter clockwise": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "half a turn": ((-1, 0, 0, -1), lambda x: x[::-1, ::-1]),
    "a quarter counter-clockwise": ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
    "left for right": ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda x: x[::-1]),
    "along the diagonal": ((0, 1, 1, 0), lambda x: x.transpose(1, 0, 2)),
    "along the other diagonal": ((0, -1, -1, 0), lambda x: x[::-1, ::-1].transpose(1, 0, 2)),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The plain clip's bytes and decoded frames."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    pictures, _ = rendered()
    media.write_video(path, pictures, fps=FPS, audio=None, sample_rate=16000, crf=4)
    return path.read_bytes(), media.decode(path, fps=FPS)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_all_eight_orientations(plain, name):
    content, frames = plain
    matrix, shows = ORIENTATIONS[name]
    found = media.decode(with_matrix(content, *matrix), fps=FPS)
    assert np.array_equal(found, np.stack([shows(frame) for frame in frames]))
    picture = next(media.pictures(with_matrix(content, *matrix), fps=FPS))
    assert picture.mirrored == (name in list(ORIENTATIONS)[4:])
    converter = media.Converter()
    assert np.array_equal(
        converter.luma(picture), picture.upright(converter.luma(replace(picture, rotation=0, mirrored=False)))
    )
    crop = (20, 30, 100)  # as the mask stage cuts it
    assert psnr(mask.face_picture(picture, converter, crop, 50), media.cut(found[0], crop, 50)) > CLOSE_DB


@pytest.mark.parametrize("degrees", [-30, 20])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_tilt_is_read_as_the_nearest_orientation(plain, name, degrees):
    (a, b, c, d), shows = ORIENTATIONS[name]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    tilted = (cos * a - sin * b, sin * a + cos * b, cos * c - sin * d, sin * c + cos * d)
    found = next(media.pictures(with_matrix(plain[0], *tilted), fps=FPS))
    assert np.array_equal(media.Converter().rgb(found), shows(plain[1][0]))


@pytest.mark.parametrize("aspect", [Fraction(3, 2), Fraction(2, 3), Fraction(8, 9)], ids=str)
@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0)], ids=["lying", "turned"])
def test_pixels_become_square(tmp_path, plain, aspect, matrix):
    frames = plain[1]
    squeezed(tmp_path / "a.mp4", frames, aspect)
    content = with_matrix((tmp_path / "a.mp4").read_bytes(), *matrix)
    expected = frames if matrix[0] else np.rot90(frames, -1, (1, 2))
    assert psnr(media.decode(content, fps=FPS), expected) > CLOSE_DB
    assert media.Converter().planes(next(media.pictures(content, fps=FPS))) is not None


def test_the_aspect_of_a_damaged_header_is_named(tmp_path, plain):
    film(
        tmp_path / "a.mkv",
        plain[1],
        container="matroska",
        video=lambda s: setattr(s.codec_context, "sample_aspect_ratio", Fraction(9)),
    )
    with pytest.raises(ClipError, match="clip a: damaged: its pixels are 9 times as wide as high"):
        media.decode(tmp_path / "a.mkv", fps=FPS)


def test_widths_stay_even_and_hardly_different_pixels_are_square():
    assert [display.square_width(720, Fraction(*x), "a") for x in ((16, 15), (8, 9), (32, 27))] == [768, 640, 854]
    assert display.square_width(1920, Fraction(4319, 4320), "a") == 1920
    assert display.square_width(101, Fraction(3, 2), "a") == 152


FROM_709 = np.array(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)  # BT.2087, to BT.2020


def pq(nits):
    """SMPTE ST 2084's inverse EOTF."""
    power = np.clip(nits / 10000, 0, 1) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(nits):
    """BT.2100's HLG for a screen of 1000 cd/m²: inverse OOTF of gamma 1.2, then the OETF."""
    shown = nits / 1000
    luma = shown @ [0.2627, 0.6780, 0.0593]
    scene = shown * np.maximum(luma, 1e-6)[..., None] ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


@pytest.mark.parametrize("trc", [ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084], ids=["HLG", "PQ"])
def test_hdr_is_mapped_to_the_plain_picture(tmp_path, plain, trc):
    """SDR's white at 203 cd/m², as BT.2408 has it, in BT.2020; without the mapping the picture is grey."""
    frames = plain[1][:6]
    nits = 203 * ((frames / 255.0) ** 2.4) @ FROM_709.T
    signal = (hlg if trc == ColorTrc.ARIB_STD_B67 else pq)(nits)
    stored = []
    for picture in signal:
        frame = av.VideoFrame.from_ndarray(np.round(picture * 65535).astype(np.uint16), format="rgb48le")
        frame = frame.reformat(format="yuv420p10le", dst_colorspace=Colorspace.BT2020, dst_color_range=ColorRange.MPEG)
        frame.color_trc, frame.color_primaries = trc, ColorPrimaries.BT2020
        stored.append(frame)

    def tagged(stream):
        stream.pix_fmt = "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = (
            trc,
            ColorPrimaries.BT2020,
            9,
            1,
        )

    film(tmp_path / "a.mkv", stored, container="matroska", codec="ffv1", video=tagged)
    found = media.decode(tmp_path / "a.mkv", fps=FPS)
    assert psnr(found, frames) > HDR_DB
    untouched = np.stack(
        [frame.to_ndarray(format="rgb24") for frame in av.open(str(tmp_path / "a.mkv")).decode(video=0)]
    )
    assert psnr(untouched, frames) < HDR_DB - 4
    assert next(media.pictures(tmp_path / "a.mkv", fps=FPS)).frame.format.name == "yuv420p"


def test_colours_that_ffmpeg_cannot_map_are_named(plain):
    frame = av.VideoFrame.from_ndarray(plain[1][0], format="rgb24").reformat(format="yuv420p10le")
    frame.color_trc, frame.colorspace, frame.time_base = ColorTrc.SMPTE2084, 14, Fraction(1, FPS)  # IC_T C_P
    with pytest.raises(ClipError, match=r"clip a: its pictures \(PQ, yuv420p10le\) can't be converted"):
        list(display.shown(iter([frame]), None, "a"))


@pytest.mark.parametrize(("trc", "refused"), [(ColorTrc.UNSPECIFIED, True), (ColorTrc.ARIB_STD_B67, False)])
def test_dolby_vision_without_a_picture_for_others_is_named(tmp_path, plain, trc, refused):
    """Its profile 5 has a sample entry of its own and says no transfer; profile 8 has HLG's or PQ's."""

    def tagged(stream):
        stream.pix_fmt, stream.options = "yuv420p10le", {"x265-params": "log-level=none"}
        stream.codec_context.codec_tag, stream.codec_context.color_trc = "hvc1", trc

    film(tmp_path / "a.mp4", plain[1][:3], container="mp4", codec="libx265", video=tagged)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.count(b"hvc1") == 1
    content = content.replace(b"hvc1", b"dvh1")
    if refused:
        with pytest.raises(ClipError, match=r"Dolby Vision \(profile 5\).*convert it to HDR10 or SDR"):
            media.decode(content, fps=FPS)
    else:
        assert len(media.decode(content, fps=FPS)) == 3


@pytest.mark.parametrize("upper", [True, False], ids=["upper first", "lower first"])
def test_interlaced_pictures_have_no_combs(tmp_path, plain, upper):
    """Fields of two moments in one frame, between which the face moves by four pixels."""
    large = cv2.resize(plain[1][0], (480, 360), interpolation=cv2.INTER_CUBIC)
    moving = np.stack([np.roll(large, 4 * number, 1) for number in range(24)])
    frames = [woven(moving[number], moving[number + 1], upper) for number in range(0, 24, 2)]
    options = {"crf": "4", "flags": "+ildct", "x264-params": f"{'tff' if upper else 'bff'}=1"}
    film(tmp_path / "a.mp4", frames, container="mp4", video=lambda stream: setattr(stream, "options", options))
    found = media.decode(tmp_path / "a.mp4", fps=FPS)
    with av.open(str(tmp_path / "a.mp4")) as container:
        combed = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    inner = np.s_[:, :, 100:]  # without the seam of the roll
    assert psnr(found[inner], moving[::2][inner]) > CLOSE_DB > psnr(combed[inner], moving[::2][inner]) + 5


def test_the_default_video_is_shown_and_no_cover(tmp_path, plain):
    """A cover picture comes first in some files; and a second, default video in others."""
    pictures = plain[1]
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        cover, video = out.add_stream("mjpeg", rate=FPS), out.add_stream("libx264", rate=FPS, options={"crf": "4"})
        cover.width = cover.height = 64
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        video.width, video.height, video.pix_fmt = 240, 180, "yuv420p"
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8), format="rgb24")))
        for packet in itertools.chain(
            *(video.encode(av.VideoFrame.from_ndarray(x, format="rgb24")) for x in pictures), video.encode(None)
        ):
            out.mux(packet)
    assert psnr(media.decode(tmp_path / "a.mp4", fps=FPS), pictures) > CLOSE_DB
