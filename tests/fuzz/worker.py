"""Read numbers of cases, a line each, and answer with the verdict on each, as JSON. Memory is limited; time is the parent's.

echo 17 | python -m tests.fuzz.worker
"""

from __future__ import annotations

import io
import json
import resource
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from stages import media
from stages.base.errors import ClipError, InputError
from stages.corpora import folder
from stages.media.container import MAX_GAP_S
from stages.media.video import MAX_PIXELS
from stages.store import tars
from tests.fuzz import cases

MEMORY = 512  # MiB that a case may fill beyond what the process has; it may reserve four times as much
MOST_FRAMES = round(3 * cases.FRAMES * MAX_GAP_S * 25)  # a frame may stand for MAX_GAP_S; files are joined and repeated
MOST_SAMPLES = 16000 * 600
FPS = 25.0


def limit_memory() -> None:
    """Let the process reserve four times :data:`MEMORY` beyond what it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * MEMORY * 2**20, resource.RLIM_INFINITY))


def peak() -> int:
    """Most memory that the process has had at a time, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def picture_verdict(content: bytes) -> str:
    """``T frames``, or the reason why there are none."""
    converter, shown = media.Converter(), 0
    for shown, picture in enumerate(media.pictures(content, fps=FPS, clip="case"), 1):
        assert picture.number == shown - 1
        assert picture.rotation in (0, 90, 180, 270)
        assert shown <= MOST_FRAMES, "more frames than there can be"
        if not picture.repeated:
            rgb, luma = converter.rgb(picture), converter.luma(picture)
            assert rgb.dtype == luma.dtype == np.uint8
            assert rgb.shape == (*luma.shape, 3)
            assert 0 < luma.size <= MAX_PIXELS
    assert shown > 0, "neither a frame nor a reason"
    return f"{shown} frames"


def sound_verdict(content: bytes) -> str:
    """``N samples``, or the reason why there are none."""
    samples = media.decode_audio(content, 16000, clip="case")
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) <= MOST_SAMPLES, "more samples than there can be"
    assert np.isfinite(samples).all()
    return f"{len(samples)} samples"


def tar_verdict(path: Path) -> str:
    clips = tars.listing(path)
    for clip in clips:
        tars.read(path, clip["file"])
    return f"{len(clips)} clips, {len(tars.names(path))} members"


def verdicts(kind: str, content: bytes) -> list[str]:
    """The verdict of each reader: its finding, or the reason of a ClipError or InputError."""

    def said(read) -> str:  # type: ignore[no-untyped-def]
        try:
            return read()
        except (ClipError, InputError) as error:
            return str(error)

    if kind not in ("tar", "csv"):
        return [said(lambda: picture_verdict(content)), said(lambda: sound_verdict(content))]
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "case"
        path.write_bytes(content)
        if kind == "tar":
            return [said(lambda: tar_verdict(path))]
        return [said(lambda: f"{len(folder.table(path.parent, path.name))} rows")]


def main() -> None:
    for kind in cases.KINDS:
        media.decode(io.BytesIO(cases.whole(kind)), fps=FPS)  # what is loaded once is not the case's
        media.decode_audio(io.BytesIO(cases.whole(kind)), 16000)
    limit_memory()
    before = peak()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, how, content = cases.case(int(line))
        answer: dict[str, object] = {"case": int(line), "kind": kind, "how": how}
        try:
            answer["verdicts"] = verdicts(kind, content)
            assert peak() < before + MEMORY, f"{peak() - before} MiB were filled by this case or one before it"
        except BaseException:  # whatever else a reader raises is what is looked for
            answer["failure"] = traceback.format_exc(limit=-4)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
