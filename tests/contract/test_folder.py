"""Any folder of videos against the true ones: scores that need no corpus, and errors that name the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import call
from numpy.typing import NDArray

from stages import media
from stages import metrics as scoring
from stages.base import params
from stages.base.errors import InputError
from stages.corpora.rendered import speaker as rendered
from stages.measures.networks.judges import FrameEncoder, SyncJudge, VideoEncoder
from stages.scoring import folder
from stages.scoring.observer import Observer
from stages.store import tars, weights_file
from tests.unit.variants import SHOWN_AS_PLAIN
from tests.unit.variants import rendered as rendered_clip

SETTINGS = params.load("presets/demo.yaml")
DLIB_ALONE = Observer.of(SETTINGS, None, None)


def score(*arguments: object) -> None:
    call(scoring.main, "--params", "presets/demo.yaml", *arguments)


def write(path: Path, frames: NDArray[np.uint8], fps: float = 25) -> None:
    media.write_video(path, frames, fps=fps, audio=None, sample_rate=16000, crf=4)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.uint8]]:
    """Two short clips of rendered speakers at 128 pixels."""
    made = SETTINGS.corpus.rendered.model_copy(update={"sentences": 1})
    found = {}
    for speaker in ("ada", "emil"):
        tar = tmp_path_factory.mktemp("raw") / f"{speaker}.tar"
        rendered.take(made, speaker, tar)
        entry = tars.listing(tar)[0]
        frames = media.decode(tars.read(tar, entry["file"]), fps=25)[:24]
        found[speaker] = np.stack(
            [cv2.resize(f[:, 60:420], (128, 128), interpolation=cv2.INTER_AREA) for f in frames]
        ).astype(np.uint8)
    return found


@pytest.fixture
def folders(clips: dict[str, NDArray[np.uint8]], tmp_path: Path) -> tuple[Path, Path]:
    """Videos and truth: one clip twice as it is, one blurred."""
    for name, change in {"ada": lambda f: f, "emil": lambda f: cv2.GaussianBlur(f, (0, 0), 2.0)}.items():
        write(tmp_path / "truth" / name / "one.mp4", clips[name])
        write(tmp_path / "made" / name / "one.mp4", np.stack([change(f) for f in clips[name]]))
    return tmp_path / "made", tmp_path / "truth"


def refused(folders: tuple[Path, Path], message: str) -> None:
    with pytest.raises(InputError, match=message):
        folder.score(*folders, None, folders[0].parent / "scores.json", SETTINGS)
    assert not (folders[0].parent / "scores.json").exists()


def test_the_same_video_scores_best(folders: tuple[Path, Path], tmp_path: Path) -> None:
    score("--videos", folders[0], "--truth", folders[1], "--out", tmp_path / "scores.json")
    found: dict[str, Any] = json.loads((tmp_path / "scores.json").read_text())
    same, blurred = found["clips"]["ada/one"], found["clips"]["emil/one"]
    assert same["psnr"] == 100 > 40 > blurred["psnr"]
    assert same["ssim"] > 0.9999 > blurred["ssim"]
    assert same["lmd"] == 0 < blurred["lmd"]
    assert same["csim"] > 0.9999 > blurred["csim"]
    assert same["same_person"] == 1
    assert same["mouth_r_dlib"] == pytest.approx(1)
    assert same["f_mse_ratio"] == pytest.approx(1)
    assert blurred["f_mse_ratio"] < 1
    assert found["scores"]["detection_rate_truth"]["all"]["value"] == 1
    assert {"ear_r", "blinks_per_s", "blink_duration_s_truth", "ofm", "csim_reference"} <= found["scores"].keys()
    assert "fd_frame" not in found["scores"]
    assert found["meanings"].keys() == found["scores"].keys()
    assert "Gaussian window of 11 pixels" in found["meanings"]["ssim"]
    assert {"blinks_per_s_program", "blink_duration_s_program_truth"} <= found["scores"].keys()
    assert (found["n_clips"], found["n_frames"], found["frames_cut"], found["without_a_face"]) == (2, 48, 0, [])


def test_with_judges_there_are_distances(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"width": 4, "embedding": 8}
    heads = {"speaker": 2, "corruption": 2, "opening": 2}
    networks = {"sync": SyncJudge(**how), "frame": FrameEncoder(**how, heads=heads)}
    networks["video"] = VideoEncoder(**how, heads=heads)
    for judge, network in networks.items():
        config = {"judge": judge, **how, "size": 64} | ({} if judge == "sync" else {"heads": heads})
        weights_file.write(tmp_path / "judges" / f"{judge}.safetensors", network.state_dict(), config)
    score("--videos", folders[0], "--truth", folders[1], "--judges", tmp_path / "judges")
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["fd_frame"]["all"]["value"] > 0
    assert scores["fd_frame_floor"]["all"]["value"] > 0


@pytest.mark.parametrize("how", SHOWN_AS_PLAIN)
def test_pictures_are_decoded_as_a_player_shows_them(how: str, tmp_path: Path) -> None:
    frames = rendered_clip()[0][:3]
    write(tmp_path / "truth" / "one.mp4", frames)
    (tmp_path / "made").mkdir()
    SHOWN_AS_PLAIN[how](tmp_path / "made" / "one.mp4", frames)
    score("--videos", tmp_path / "made", "--truth", tmp_path / "truth", "--out", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["clips"]["one"]["psnr"] >= 35


def test_a_missing_partner_is_named(folders: tuple[Path, Path]) -> None:
    (folders[1] / "ada" / "one.mp4").unlink()
    refused(folders, r"made/ada/one\.mp4: no true video ada/one\.\*")
    shutil.rmtree(folders[0] / "ada")
    write(folders[1] / "more.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    refused(folders, r"truth/more\.mp4: no video more\.\*")


def test_two_files_of_one_name_are_refused(folders: tuple[Path, Path]) -> None:
    shutil.copy(folders[0] / "ada" / "one.mp4", folders[0] / "ada" / "one.mov")
    refused(folders, r"one\.mp4: another file of this name, one\.mov")


def test_a_linked_folder_is_followed_and_a_second_way_to_one_is_refused(folders: tuple[Path, Path]) -> None:
    (folders[0] / "ada").rename(folders[0].parent / "elsewhere")
    (folders[0] / "ada").symlink_to("../elsewhere")
    assert list(folder.pair(*folders)) == ["ada/one", "emil/one"]
    (folders[0] / "ada" / "all").symlink_to(folders[0])
    refused(folders, r"made/ada/all: a link to a folder that is there already; take it out")


def test_folders_that_are_none_or_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        folder.pair(tmp_path / "absent", tmp_path)
    with pytest.raises(InputError, match="no video in it"):
        folder.pair(tmp_path, tmp_path)


def test_pairs_that_do_not_fit_are_refused(folders: tuple[Path, Path], clips: dict[str, NDArray[np.uint8]]) -> None:
    path = folders[0] / "ada" / "one.mp4"
    write(path, clips["ada"], fps=30)
    refused(folders, r"made/ada/one\.mp4: 30 frames a second, .*truth/ada/one\.mp4 has 25; convert")
    write(path, clips["ada"][:, :64])
    refused(folders, r"made/ada/one\.mp4: 128x64 pixels, .* has 128x128; scale")
    write(path, clips["ada"][:20])
    refused(folders, r"made/ada/one\.mp4: 20 frames, .* has 24; give --cut")
    path.write_bytes(b"no video")
    refused(folders, r"made/ada/one\.mp4: not a readable video.*; give another file")


def test_what_is_cut_is_said(folders: tuple[Path, Path], clips: dict[str, NDArray[np.uint8]]) -> None:
    write(folders[0] / "ada" / "one.mp4", clips["ada"][:20])
    made, true = folder.pair(*folders)["ada/one"]
    found = folder.measure("ada/one", made, true, DLIB_ALONE, SETTINGS, cut=True)
    assert (found.cut, found.made.frames) == (4, 20)
    assert folder.document([found], SETTINGS)["frames_cut"] == 4


def test_a_true_video_without_a_face_is_refused_and_a_made_one_counts(
    folders: tuple[Path, Path], clips: dict[str, NDArray[np.uint8]]
) -> None:
    grey = np.full_like(clips["ada"], 128)
    write(folders[0] / "ada" / "one.mp4", grey)
    made, true = folder.pair(*folders)["ada/one"]
    found = folder.document([folder.measure("ada/one", made, true, DLIB_ALONE, SETTINGS, cut=False)], SETTINGS)
    assert found["without_a_face"] == ["ada/one"]
    assert found["scores"]["detection_rate"]["all"]["value"] == 0
    assert found["scores"]["same_person"]["all"]["value"] == 0
    assert found["scores"]["lmd"]["all"]["value"] is None
    write(folders[1] / "ada" / "one.mp4", grey)
    refused(folders, r"truth/ada/one\.mp4: dlib finds no face")
