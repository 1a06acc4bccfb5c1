"""Machines as they are: a plain copy in a folder of odd characters, a user whom no one entered, a locale that is not UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Project

from stages.base.params import load
from workflow import machine
from workflow.artifacts import everything
from workflow.copies import copy_tree

pytestmark = pytest.mark.workflow

LOCALE = "en_US.ISO-8859-1"
NOBODY = (
    "unshare",
    "--user",
    "--map-user=54321",
    "--",
)  # the files stay this user's own, under a number without a name


class Elsewhere(Project):
    """A project folder in which commands run as a user without a name and a home, under a locale of Latin-1."""

    def __init__(self, root: Path, locales: Path) -> None:
        super().__init__(root)
        self.env = {key: value for key, value in self.env.items() if key not in ("LANG", "LANGUAGE", "PYTHONUTF8")}
        self.env = {k: v for k, v in self.env.items() if k not in ("LOGNAME", "USER", "LNAME", "USERNAME")}
        self.env |= {
            "LC_ALL": LOCALE,
            "LOCPATH": str(locales),
            "HOME": str(root / ".snakemake/home"),
        }  # as the Makefile has it

    def run(self, *command: str, fails: bool = False) -> str:
        return super().run(*NOBODY, *command, fails=fails)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """A plain copy, with the smoke preset, of which the truth and one row are left, without stills that talk."""
    if subprocess.run([*NOBODY, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no user namespaces, in which to be a user without a name")
    locales = tmp_path_factory.mktemp("locales")
    try:
        subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(locales / LOCALE)], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"localedef can't make the locale {LOCALE} here")
    project = Elsewhere(tmp_path_factory.mktemp("odd") / "a 'b' é? #1 100% &", locales)
    copy_tree(project.root, "smoke")
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["methods"] = {name: params["methods"][name] for name in ("truth", "full")}
    params["trained"], params["talking"] = ["full"], []
    params["corpus"]["rendered"] |= {"long_s": 0, "long_speakers": []}
    params["index"]["long_min_s"] = 0
    params["report"]["title"] = "Ein Lauf für Zoë 😀"
    path.write_text(yaml.safe_dump(params, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return project


def test_the_smoke_preset_runs_in_a_plain_copy_by_a_user_without_a_name_under_latin_1(elsewhere: Elsewhere) -> None:
    assert elsewhere.run("locale", "charmap").strip() == "ISO-8859-1"
    assert elsewhere.run("id", "--user").strip() == "54321"
    printed = elsewhere.run("snakemake", "--cores", "2")
    assert "No Git repository holds this project: DVC does without" in printed
    made = everything(load(elsewhere.root / "params.yaml"))
    assert [path for path in made if not (elsewhere.root / path).exists()] == []
    assert "Zoë 😀" in elsewhere.read("reports/smoke/index.md").decode("utf-8")
    assert elsewhere.to_do() == {}
    assert (elsewhere.root / "data" / "mlflow.db").exists()
    beside = {path.name for path in elsewhere.root.iterdir()}
    assert not beside & {"~", "file:"}
    elsewhere.env |= {"LOGNAME": "user-54321", "USER": "user-54321"}  # which DVC by itself needs
    assert elsewhere.changed() == []


def test_a_repository_that_does_not_hold_the_project_is_none(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / "dvc.yaml").touch()
    assert not machine.held(project)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert not machine.held(project), "somebody else's"
    subprocess.run(["git", "add", "project/dvc.yaml"], cwd=tmp_path, check=True)
    assert machine.held(project), "taken into theirs"
    (project / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n", encoding="utf-8")
    subprocess.run(["git", "rm", "--quiet", "--cached", "project/dvc.yaml"], cwd=tmp_path, check=True)
    assert machine.tell_dvc(project) is None, "DVC was told before"


def test_a_user_without_name_and_home_is_given_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    assert machine.environment() == {}

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(machine.getpass, "getuser", unknown)
    assert machine.environment() == dict.fromkeys(("LOGNAME", "USER"), f"user-{os.getuid()}")
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    show = ["make", "--silent", "--eval", "show: ; @echo $$HOME", "show"]
    for home, expected in ((tmp_path, tmp_path), (tmp_path / "none", tmp_path / ".snakemake/home")):
        env = os.environ | {"HOME": str(home)}
        done = subprocess.run(show, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8")
        assert done.stdout.strip() == str(expected), done.stderr


def test_files_at_which_dvc_would_stop_are_refused(tmp_path: Path) -> None:
    """A link that leads nowhere ends ``dvc commit`` in the last job, a pipe lets it wait for ever."""
    folder = tmp_path / "videos" / "ada"
    folder.mkdir(parents=True)
    (folder / "good.mp4").touch()
    (folder / "linked.mp4").symlink_to("good.mp4")
    machine.check_files([tmp_path / "videos", tmp_path / "none"])
    broken, pipe = folder / "broken.mp4", folder / ".pipe"
    broken.symlink_to("nowhere")
    with pytest.raises(
        machine.MachineError, match=r"broken\.mp4: a link that leads nowhere; DVC can't record .*: take it out"
    ):
        machine.check_files([tmp_path / "videos"])
    broken.unlink()
    os.mkfifo(pipe)
    with pytest.raises(machine.MachineError, match=r"\.pipe: no file, but a pipe"):
        machine.check_files([tmp_path / "videos"])


def test_a_run_with_such_a_file_ends_before_its_first_job(fresh: Project) -> None:
    (fresh.root / "videos").mkdir(exist_ok=True)
    (fresh.root / "videos" / "broken.mp4").symlink_to("nowhere")
    said = fresh.run("snakemake", "--cores", "1", fails=True)
    assert "videos/broken.mp4: a link that leads nowhere" in said
    assert not list((fresh.root / "data").glob("smoke/raw/*"))


def test_a_path_that_dvc_can_not_print_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a {b}").mkdir()
    with pytest.raises(machine.MachineError, match=r"a \{b\}: DVC can't record .* rename the folder"):
        machine.tell_dvc(tmp_path / "a {b}")
