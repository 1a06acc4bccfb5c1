"""The settings: one frozen model for each section of ``params.yaml``, and the file's reader.

``params.yaml`` carries every value, so no field has a default. The JSON schema that Snakemake validates against is exported
from these models (``python -m workflow.schema``); a test holds it current.
"""

from __future__ import annotations

import datetime
import hashlib
import pkgutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stages.base import overrides, presets
from stages.base.errors import ParameterError

PARAMS_FILE = "params.yaml"
# A row's kind is a module or a package of stages/methods/kinds. These are not trained by rule train_baseline.
KINDS = sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parents[1] / "methods" / "kinds")]))
BUILT_IN = ("truth", "hifidiff", "videos")
CREMAD_SPEAKERS = {str(number) for number in range(1001, 1092)}
# What YAML makes of text without quotes: no, 1001, 2024-01-01, null.
YAML_READS = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (datetime.date, "a date"),
    (type(None), "nothing"),
)
OWN_SECTIONS = ("network", "loss", "train")  # of which a row of kind hifidiff may have values of its own

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Correlation = Annotated[float, Field(ge=-1.0, le=1.0)]
Natural = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Device = Annotated[
    str,
    Field(
        pattern=r"^[a-z]+$", description="auto: the accelerator where there is one; cpu; or its name: cuda, mps, xpu, …"
    ),
]


class Section(BaseModel):
    """A frozen group of settings in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rendered(Section):
    seed: Seed = Field(description="seed of identities, motion, blinks and voices")
    sentences: Natural = Field(le=24, description="different sentences that each speaker says, one clip each")
    width: Natural = Field(multiple_of=2, description="pixels")
    height: Natural = Field(multiple_of=2, description="pixels")
    fps: Positive = Field(le=120, description="frames per second of the written file; 29.97 is written as 30000/1001")
    blink_rate: Positive = Field(description="mean blinks per second")
    blink_variety: Fraction = Field(
        description="share of the blinks that are pairs, slow to reopen, or half, each as likely"
    )
    motion: Fraction = Field(
        description="head motion as a share of the largest: yaw 5, pitch 3, roll 7 degrees, a shift of 1/20 of the height"
    )
    crf: Count = Field(le=51, description="H.264 constant rate factor; 0 is lossless")
    long_s: Annotated[float, Field(ge=0)] = Field(
        description="one clip more of at least so many seconds, of sentences that no other clip says; 0: none"
    )
    long_speakers: list[Slug] = Field(description="shards that have the long clip")

    @model_validator(mode="after")
    def _long_clip_can_be_made(self) -> Rendered:
        if (self.long_s > 0) != bool(self.long_speakers):
            raise ValueError(
                "corpus.rendered.long_speakers must name speakers where long_s is above 0, and none where it is 0"
            )
        if self.long_s > 0 and self.sentences == 24:
            raise ValueError(
                "corpus.rendered.sentences must be below 24 where long_s is above 0: the long clip says the rest"
            )
        return self


class Folder(Section):
    path: str = Field(description="folder with video files; the first sub-folder is the speaker, at the top the file")
    table: str = Field(
        description="CSV in that folder: file and any of speaker, split, sentence, emotion, level; empty: none"
    )


class Corpus(Section):
    source: Literal["rendered", "cremad", "folder"] = Field(description="source of the clips")
    shards: list[Slug] = Field(min_length=1, description="one file per shard in each data stage; a shard is a speaker")
    rendered: Rendered
    folder: Folder

    @model_validator(mode="after")
    def _unique_shards(self) -> Corpus:
        if len(set(self.shards)) != len(self.shards):
            raise ValueError("each shard must be listed once")
        strange = [s for s in self.shards if s not in CREMAD_SPEAKERS]
        if strange and self.source == "cremad":
            raise ValueError(f"corpus.shards names {strange}; CREMA-D's speakers are '1001' to '1091', in quotes")
        unknown = [s for s in self.rendered.long_speakers if s not in self.shards]
        if unknown and self.source == "rendered":
            raise ValueError(f"corpus.rendered.long_speakers names {unknown}, which corpus.shards lacks")
        return self


class Cut(Section):
    """The cutting of footage into clips, by what is seen and heard in it."""

    longest_s: Positive = Field(le=60, description="a clip is about so long at most, seconds")
    shortest_s: Positive = Field(description="what is shorter is left out, seconds")
    silence_s: Positive = Field(description="a longer silence is left out, seconds")
    turn: Positive = Field(
        description="the nose's tip aside of the eyes, in distances of their outer corners, beyond which the head is turned "
        "away: 0.3 is some 37 degrees"
    )
    jump: Positive = Field(
        description="motion of the landmarks from frame to frame, beside the head's, in the same unit, beyond which they sit on "
        "no face"
    )


class Mask(Section):
    fps: Positive = Field(le=60, description="frames per second of the time base")
    size: Natural = Field(multiple_of=16, description="side of the square face crop, pixels")
    margin: Positive = Field(description="side of the crop over the side of the landmarks' bounding square")
    detect_every: Natural = Field(description="frames between two runs of the HOG detector; landmarks on every frame")
    looks: Natural = Field(
        le=3, description="looks at a face whose landmarks are averaged; 1 is fastest, 2 see blinks and covered faces"
    )
    max_gap: Count = Field(description="longest run of frames without a face that is interpolated, frames")
    dilation: Fraction = Field(description="the hull is grown by this share of the inter-ocular distance")
    segment_s: Positive = Field(le=10, description="longest segment of a clip in one row, seconds")
    jpeg_quality: Natural = Field(le=100)
    cut: Cut | None = Field(description="cut footage into clips; null: a file is a clip")


class Blink(Section):
    open_percentile: Annotated[float, Field(gt=0, le=100)] = Field(
        description="percentile of a clip's EAR taken as open"
    )
    close_ratio: Fraction = Field(description="a blink begins below this share of the open EAR")
    reopen_ratio: Fraction = Field(
        description="and ends above this share (hysteresis), or at the ridge before the next blink"
    )
    depth: Annotated[float, Field(gt=0, le=1)] = Field(
        description="share of the open EAR by which a blink's deepest frame lies below the ridges beside it"
    )
    min_frames: Natural = Field(description="of a blink; what is shorter is noise")
    max_frames: Natural = Field(description="that the eyes may be more than half shut; longer, they are cast down")


class Spectrogram(Section):
    sample_rate: Natural = Field(description="Hz")
    n_fft: Natural = Field(description="samples; also the window's length")
    hop: Natural = Field(description="samples")
    n_mels: Natural
    f_min: Annotated[float, Field(ge=0)] = Field(description="Hz")
    f_max: Positive = Field(description="Hz")
    preemphasis: Fraction


WAV2LIP_SOUND = Spectrogram(sample_rate=16000, n_fft=800, hop=200, n_mels=80, f_min=55, f_max=7600, preemphasis=0.97)


class Index(Section):
    unseen_speakers: list[Slug] = Field(description="speakers that only the test split has")
    test_sentences: list[str] = Field(description="sentences of the seen speakers that only the test split has")
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of the seen speakers' other clips that are drawn for the test, whatever the sentence; 0: none"
    )
    validation_fraction: Fraction = Field(description="share of the remaining clips")
    max_test_clips: Natural = Field(description="most clips in each test split, spread evenly over the speakers")
    min_frames: Natural = Field(description="a shorter clip is left out")
    long_min_s: Annotated[float, Field(ge=0)] = Field(
        description="clips of so many seconds or more are the split test_long, and never trained on; 0: no such split"
    )
    seed: Seed


class Expert(Section):
    source: Literal["trained", "wav2lip"] = Field(
        description="trained: on the corpus, by the values below; wav2lip: the public weights, converted"
    )
    path: str = Field(description="the converted weights, read where source is wav2lip")
    width: Natural = Field(description="channels of the first layer")
    embedding: Natural
    sees: Literal["lower_half", "mouth"] = Field(
        description="lower halves of frames resized to size, as Wav2Lip's expert; or upright cuts of the mouth, size pixels wide"
    )
    size: Natural = Field(multiple_of=16, description="pixels")
    steps: Natural
    batch: Natural = Field(ge=2)
    learning_rate: Positive
    moments: Natural = Field(
        ge=2, description="windows of each clip in a batch: negatives that only the lips tell apart"
    )
    temperature: Positive = Field(description="of InfoNCE")
    checkpoint_every: Natural
    seed: Seed


class Judges(Section):
    size: Natural = Field(multiple_of=16, description="frames are resized to this side, pixels")
    width: Natural
    embedding: Natural = Field(description="length of the frame and video features")
    steps: Natural = Field(description="training steps of each of the three encoders")
    batch: Natural = Field(ge=2)
    learning_rate: Positive
    checkpoint_every: Natural
    seed: Seed


class Network(Section):
    size: Natural = Field(multiple_of=16, le=1024, description="side of the generated frame, pixels")
    patch: Literal[1, 2, 4] = Field(description="pixel-unshuffle factor before the UNet; 1 at paper scale")
    channels: Natural = Field(le=1024)
    multipliers: list[Annotated[int, Field(ge=1, le=64)]] = Field(min_length=1, max_length=8)
    res_blocks: Natural = Field(le=16, description="residual blocks a level")
    attention: list[Natural] = Field(
        max_length=8, description="resolutions, in frame pixels over patch, with self-attention"
    )
    head_channels: Natural = Field(le=1024)
    dropout: Annotated[float, Field(ge=0, lt=1)]
    audio_channels: Natural = Field(le=1024, description="channels of the audio encoder's first layer")
    audio_steps: Natural = Field(le=1000, description="mel steps in the window that conditions a frame")
    blink_frames: Natural = Field(le=1001, description="frames of EAR, centred, that condition a frame; odd")
    ear: Literal["raw", "normalised"] = Field(
        description="the EAR that a network is told: as it is, or 0 where the speaker's eyes are shut and 1 where they are open"
    )
    reference: Literal["as_is", "aligned"] = Field(
        description="aligned: moved onto each frame by the similarity of nose and eye corners and by the head's turn; "
        "never without the masked face"
    )
    places: bool = Field(
        description="each pixel's place on the head is an input, by the similarity that carries the mask"
    )
    prior: Annotated[float, Field(ge=0)] = Field(
        description="x_t enters as its estimate of x_0's difference from the reference, whose deviation is assumed to be this; "
        "0: as it is"
    )
    condition_gain: Positive = Field(description="factor of the embedding of audio and blink; 1 at paper scale")
    residual: Literal["none", "reference", "blended"] = Field(
        description="base that the predicted x_0 is a residual on; blended: a share of each pixel is drawn"
    )
    groups: Natural = Field(le=1024, description="groups of group normalisation")


class Diffusion(Section):
    timesteps: Natural = Field(le=100_000, description="T in training")
    schedule: Literal["linear", "cosine"]
    prediction: Literal["epsilon", "v", "x0"]


class Loss(Section):
    simple: Annotated[float, Field(ge=0)] = Field(description="lambda_1 of eq. (5)")
    l2: Annotated[float, Field(ge=0)] = Field(description="lambda_2")
    sync: Annotated[float, Field(ge=0)] = Field(description="lambda_3")
    lpips: Annotated[float, Field(ge=0)] = Field(description="lambda_4")
    change: Annotated[float, Field(ge=0)] = Field(
        description="of the mean absolute difference of the made frame from the reference, over whole frames; 0 in the paper"
    )
    perceptual: Literal["lpips_vgg", "vgg19", "pyramid"] = Field(
        description="distance of the perceptual term: LPIPS, eq. (4) as it is written, or a Laplacian pyramid"
    )
    mouth_weight: Positive = Field(description="weight of the mouth's pixels over the mask's others")
    eye_weight: Positive = Field(description="weight of the eyes' pixels over the mask's others")
    frames: Natural = Field(description="consecutive frames of a window; the expert sees 5")


class Start(Section):
    """A trained model whose weights a training starts with."""

    folder: str = Field(description="with its model.safetensors and config.json, such as data/demo/models/full")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="of its model.safetensors, by which its content counts: `sha256sum` prints it"
    )

    @classmethod
    def of(cls, folder: str | Path) -> Start:
        """The model that lies in a folder now."""
        with (Path(folder) / "model.safetensors").open("rb") as file:
            return cls(folder=str(folder), sha256=hashlib.file_digest(file, "sha256").hexdigest())


class Train(Section):
    start: Start | None = Field(description="a model to start with (fine-tuning); null: random weights")
    steps: Count = Field(description="0 takes the start's weights as they are")
    batch: Count = Field(description="windows of loss.frames consecutive frames a step; 0 where loss.sync is")
    singles: Count = Field(description="further frames a step, each drawn by itself: they differ more than a window's")
    crop: Count = Field(
        description="side of a random part of each frame, around the mouth, that is trained on, pixels; 0: whole frames"
    )
    latest_of: Natural = Field(
        description="a timestep is the largest of so many uniform draws; 1 is uniform, as in the paper"
    )
    learning_rate: Positive
    warmup: Count = Field(description="steps")
    lr_schedule: Literal["constant", "cosine"]
    weight_decay: Annotated[float, Field(ge=0)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    clip_norm: Positive
    blink_share: Fraction = Field(description="share of windows drawn around a blink; not used where blink is dropped")
    first_reference: Fraction = Field(
        description="share of the windows and frames whose reference is the clip's first frame, as in sampling; 0 in the paper"
    )
    mirror: bool = Field(description="half of the windows and frames are mirrored, at random; false in the paper")
    condition_dropout: Fraction = Field(
        description="share of windows trained without audio, and apart from that without blink signal; guidance needs some"
    )
    accumulate: Natural = Field(
        description="micro-batches that a process cuts its share of a step into, for memory's sake"
    )
    nodes: Natural = Field(
        description="machines of one training, in one allocation of Slurm; they share a step's batch"
    )
    processes: Natural = Field(description="training processes of each node, one an accelerator (torchrun)")
    workers: Count = Field(description="loader processes of each training process; 0: it makes its batches itself")
    precision: Literal["fp32", "bf16"] = Field(description="of the network in training; weights and losses are float32")
    compile: bool = Field(description="torch.compile the network")
    checkpoint_every: Natural = Field(description="steps between two saved states")
    log_every: Natural = Field(description="steps averaged in a point of the curves")
    threads: Natural = Field(description="CPU threads of one training process")
    device: Device
    seed: Seed


class Sample(Section):
    sampler: Literal["ancestral", "ddim", "dpm_solver++"]
    steps: Natural = Field(description="paper: 50")
    frames: Natural | None = Field(description="at most so many frames of each clip, from its first; null: all")
    shared_noise: Fraction = Field(
        description="share of the noise's variance that all frames of a clip have in common, of x_T and of each ancestral step"
    )
    interpolation: Fraction = Field(
        description="share of the rest that a frame has from its predecessor, of x_T and of each ancestral step; 0: none"
    )
    guidance_audio: Positive = Field(description="scale of classifier-free guidance on the audio; 1: none")
    guidance_blink: Positive = Field(description="scale of classifier-free guidance on the blink signal; 1: none")
    batch: Natural = Field(description="frames at a time")
    precision: Literal["fp32", "bf16"] = Field(
        description="of the network in sampling; the sampler computes in float32"
    )
    compile: bool = Field(description="torch.compile the network")
    crf: Count = Field(le=51, description="H.264 constant rate factor of the written videos")
    chroma: Literal["yuv420", "yuv444"] = Field(
        description="colours of the written videos at a quarter of the pixels, which plays everywhere, or at all of them"
    )
    threads: Natural
    device: Device
    seed: Seed


class Metrics(Section):
    upscale: Natural = Field(description="dlib sees frames enlarged by this factor")
    bootstrap: Natural = Field(description="resamples of an interval")
    confidence: Fraction = Field(description="of the intervals, such as 0.95")
    drift_s: Positive = Field(description="a long clip's last seconds that are compared with as many first ones")
    batch: Natural
    held_out: bool = Field(
        description="clips of the test's kind that index.max_test_clips left are measured, too: rows may name held_out in splits"
    )
    public: list[Literal["inception", "i3d", "syncnet", "vgg16"]] = Field(
        description="networks with public weights that score besides the corpus's own encoders"
    )
    threads: Natural
    device: Device
    seed: Seed


class Portraits(Section):
    """Faces that talk, measured: a user's results of ``python -m stages.talk``."""

    stills: Natural = Field(description="first frames of test clips, of each test split")
    sounds: Natural = Field(description="of other speakers, for each still")
    videos: Count = Field(
        description="test clips, of each test split, whose own video is made to say another speaker's sound"
    )
    blink_rate: Fraction = Field(description="blinks a second that are asked of a still")
    seed: Seed = Field(description="of the first film; each further one has the next")


class Cremad(Section):
    """No stage's output depends on it: the files are known by their hashes."""

    folder: str = Field(min_length=1, description="folder of CREMA-D's files, for all runs; a clone of it serves, too")
    sources: list[Annotated[str, Field(pattern=r"^https?://[^/\s]+/\S*$")]] = Field(
        min_length=1,
        description="asked in this order: a repository that speaks Git LFS, or with {path} in it the address of a file",
    )
    connections: Natural = Field(le=16, description="at a time, over all jobs of a run")
    stall_s: Positive = Field(description="a connection without a kilobyte a second for so long is given up, seconds")
    attempts: Natural = Field(
        description="connections that bring next to nothing before a source is given up for a file"
    )
    pause_s: Positive = Field(description="after the first of them, seconds; doubled each time, or as the server asks")


Split = Literal["test_seen", "test_unseen", "test_long", "held_out"]
Table = Literal["table1", "table2", "samplers"]


class Method(Section):
    kind: str = Field(description="way of making its videos: a module of stages/methods/kinds")
    title: str = Field(description="the row's name in tables")
    drop: list[Literal["blink", "masked_face"]] = Field(description="conditions left out, in training and sampling")
    made_from: str = Field(
        pattern=r"^(raw|(models|videos)/[a-z0-9][a-z0-9_-]*)$",
        description="source of its videos, below data/<run>/: raw (the clips themselves), models/<trained method>, "
        "or videos/<name>, where kind is videos",
    )
    audio: Literal["own", "other"] = Field(
        description="other: another clip's audio, to see whose sound the mouth follows"
    )
    splits: list[Split] = Field(min_length=1, description="the test clips that it is sampled and scored on")
    sample: dict[str, int | float | str | None] = Field(
        description="settings of section sample in which this row differs"
    )
    settings: dict[str, Any] = Field(
        description="the kind's own settings, as in its module, over those of the row whose weights it has; of kind hifidiff: "
        "values of sections network, loss and train in which its training differs"
    )
    tables: list[Table] = Field(description="the tables that show the row; samplers: a study's, grouped by frames")

    @property
    def weights_of(self) -> str:
        """The method whose weights are sampled; empty where there are none, as for the ground truth."""
        return self.made_from.removeprefix("models/") if self.made_from.startswith("models/") else ""

    @property
    def is_sampled(self) -> bool:
        """True if its frames are made here: they are neither the clips' own nor ready videos."""
        return self.kind not in ("truth", "videos")


class TalkingBounds(Section):
    """Claims on stills of unseen speakers that talk."""

    mouth_r: Correlation = Field(description="least correlation with the opening in the sound's own clip")
    ear_r: Correlation = Field(description="least correlation with the eye aspect ratio that was asked for")
    blinks: Fraction = Field(description="least share of blinks found, of those asked for and others that are found")
    csim: Correlation = Field(description="least cosine of dlib's descriptors of film and still")
    pause: Fraction = Field(description="largest opening in pauses, share of its range")
    late: Positive = Field(description="frames by which the sound may be late or early, by the sync judge")
    apart: Positive = Field(description="frames by which sound and picture may differ in length")
    detected: Fraction = Field(description="least share of frames that show a face")


class Report(Section):
    title: str
    videos: Natural = Field(description="clips shown as videos")
    frames: Natural = Field(description="frames of a clip in a figure")
    faces: bool = Field(
        description="pictures and videos of faces are in the report, which is kept in git; false for people who did not agree"
    )
    questions: bool = Field(description="the bounds below are questions about one's own footage, not claims")
    mouth_r: list[Correlation] = Field(
        min_length=2, max_length=2, description="claim: least mouth correlation, seen and unseen"
    )
    ear_r: list[Correlation] = Field(
        min_length=2, max_length=2, description="claim: least EAR correlation, seen and unseen"
    )
    baseline_mouth_r: Fraction = Field(description="claim: least mouth correlation of each of baselines, seen speakers")
    no_blink_ear_r: Fraction = Field(description="claim: largest |EAR r| without the blink signal")
    no_mask_ratio: Positive = Field(description="claim: least ratio of Frechet distances without the masked face")
    other_audio_r: Fraction = Field(description="claim: least mouth correlation with the audio that was given")
    own_audio_r: Fraction = Field(
        description="claim: largest mouth correlation with the clip's own audio, another's given"
    )
    leak_r2: Fraction = Field(
        description="claim: largest R^2 of mouth opening read from mask, visible pixels and head's place"
    )
    checkerboard: Positive = Field(description="claim: largest energy at the unshuffle's period, over the true frames'")
    ghost_edge: Positive = Field(description="claim: largest gradient along the mask's border, over the true frames'")
    mouth_streaks: Positive = Field(description="claim: largest gradient energy about the mouth, over the true frames'")
    brow_ghosts: Positive = Field(description="claim: largest gradient energy about the brows, over the true frames'")
    lid_slits: Positive = Field(description="claim: largest luma of shut lids' brightest pixels, over the true frames'")
    mouth_amplitude: list[Positive] = Field(
        min_length=2,
        max_length=2,
        description="claim: least and largest deviation of the mouth's opening, over the truth's",
    )
    worst_mouth_r: Fraction | None = Field(description="claim: least mouth correlation of any clip; null: none")
    fd_frame: Positive | None = Field(
        description="claim: largest Frechet distance of frames, by the corpus; null: none"
    )
    fd_mask: Positive | None = Field(description="claim: the same inside the mask")
    fd_video: Positive | None = Field(description="claim: the same of videos")
    psnr_mask: Positive | None = Field(description="claim: least PSNR in the mask, dB; null: none")
    expert_within_clip: Fraction | None = Field(
        description="claim: least share of pairs of moments of a validation clip that the loss's expert tells apart; null: none"
    )
    talking: TalkingBounds

    @model_validator(mode="after")
    def _amplitude_in_order(self) -> Report:
        if self.mouth_amplitude[0] > self.mouth_amplitude[1]:
            raise ValueError("report.mouth_amplitude must be two numbers, the smaller one first")
        return self


class Weights(Section):
    """No stage's output depends on it: the files are known by their hashes."""

    folder: str = Field(
        min_length=1, description="public weights are looked for here, and fetched into it where they are missing"
    )


class Params(Section):
    """All of ``params.yaml``."""

    run: Slug = Field(description="names data/<run>/ and reports/<run>/")
    corpus: Corpus
    mask: Mask
    blink: Blink
    spectrogram: Spectrogram
    index: Index
    expert: Expert
    judges: Judges
    network: Network
    diffusion: Diffusion
    loss: Loss
    train: Train
    sample: Sample
    metrics: Metrics
    methods: dict[Slug, Method]
    trained: list[Slug] = Field(
        description="methods of kind hifidiff with weights of their own, made from models/<their own name>"
    )
    baselines: dict[Slug, str] = Field(
        description="methods of other kinds with weights of their own that are trained here, and their kind"
    )
    talking: list[Slug] = Field(
        description="those of trained whose model makes stills talk, which are measured; the first is in the report's claims"
    )
    portraits: Portraits
    report: Report
    weights: Weights
    cremad: Cremad

    @model_validator(mode="after")
    def _references_hold(self) -> Params:
        unknown = [s for s in self.index.unseen_speakers if s not in self.corpus.shards]
        if unknown:
            raise ValueError(f"index.unseen_speakers names {unknown}, which corpus.shards lacks")
        own = [name for name, method in self.methods.items() if method.weights_of == name]
        for name, method in self.methods.items():
            if method.kind not in KINDS:
                raise ValueError(f"methods.{name}.kind is {method.kind!r}; allowed: {', '.join(KINDS)}")
            sources = self._sources(method.kind, own)
            if not any(method.made_from == s or (s.endswith("/") and method.made_from.startswith(s)) for s in sources):
                raise ValueError(f"methods.{name}.made_from is {method.made_from!r}; allowed: {', '.join(sources)}")
            if method.kind == "truth" and method.settings:
                raise ValueError(f"methods.{name}.settings must be {{}}: rows of kind truth have none")
            if method.kind == "hifidiff" and method.settings and method.weights_of != name:
                raise ValueError(f"methods.{name}.settings must be {{}}: its weights are those of {method.weights_of}")
            if method.kind != "hifidiff" and method.drop:
                raise ValueError(f"methods.{name}.drop must be []: it drops HifiDiff's conditions")
        hifidiffs = [name for name in own if self.methods[name].kind == "hifidiff"]
        if self.trained != hifidiffs:
            raise ValueError(
                f"trained is {self.trained}; the methods of kind hifidiff made from models/<their own name> are {hifidiffs}"
            )
        for name, kind in self.baselines.items():
            if name not in own or self.methods[name].kind != kind or kind in BUILT_IN:
                raise ValueError(
                    f"baselines.{name} is {kind!r}; it needs a method {name} of that kind, made from models/{name}, "
                    f"and none of {', '.join(BUILT_IN)}"
                )
        for name in self.talking:
            if name not in self.trained or self.methods[name].drop:
                raise ValueError(
                    f"talking names {name!r}; it needs to be one of trained that lacks no condition (drop: [])"
                )
        for name, method in self.methods.items():
            try:
                self.sampling(name)
            except ValidationError as error:
                raise ValueError("; ".join(explain(e, f"methods.{name}.sample.") for e in error.errors())) from None
            if method.kind == "hifidiff":
                self.trained_as(name)
            if method.kind == "truth" and method.sample.keys() - {"frames"}:
                raise ValueError(f"methods.{name}.sample: the truth is not sampled; allowed: frames")
        if self.methods.get("truth") is None or self.methods["truth"].kind != "truth":
            raise ValueError("methods needs truth, of kind truth, which the others are measured against")
        return self

    def _sources(self, kind: str, own: list[str]) -> list[str]:
        """The possible sources of rows of a kind; any name may follow one that ends in a slash."""
        if kind == "hifidiff":
            return [f"models/{name}" for name in own if self.methods[name].kind == kind]
        return {"truth": ["raw"], "videos": ["videos/"]}.get(kind, ["models/"])  # trained here, or converted

    @model_validator(mode="after")
    def _values_agree(self) -> Params:
        """Values that a field alone can't judge: found here, before a stage runs, and not after hours of training."""
        sound, net, diffusion = self.spectrogram, self.network, self.diffusion
        made = self.corpus.rendered
        samplings = [self.sample, *map(self.sampling, self.methods)]
        sides = [net.size // net.patch >> level for level in range(len(net.multipliers))]
        attended = [m for m, side in zip(net.multipliers, sides) if side in net.attention or side == sides[-1]]
        rules = [
            (sound.sample_rate / sound.hop / self.mask.fps == 3.2, "spectrogram.sample_rate / hop / mask.fps must be 3.2, "
             "the mel steps a frame that the windows of the network, the expert and the judges take"),
            (sound.n_mels == 80, "spectrogram.n_mels must be 80, which these networks read"),
            (self.expert.source == "trained" or sound == WAV2LIP_SOUND, "expert.source 'wav2lip' needs the spectrogram that it "
             f"was trained on: {WAV2LIP_SOUND}"),
            ("syncnet" not in self.metrics.public or (self.mask.fps, sound.sample_rate) == (25, 16000), "metrics.public: syncnet "
             "needs mask.fps 25 and spectrogram.sample_rate 16000, what it was trained on"),
            (len(set(self.metrics.public)) == len(self.metrics.public), "metrics.public must name each network once"),
            (sound.f_min < sound.f_max, "spectrogram.f_min must lie below spectrogram.f_max"),
            (self.blink.close_ratio < self.blink.reopen_ratio, "blink.close_ratio must lie below blink.reopen_ratio"),
            (self.blink.min_frames <= self.blink.max_frames, "blink.min_frames must not exceed blink.max_frames"),
            (net.channels % 2 == 0, "network.channels must be even"),
            (net.blink_frames % 2 == 1, "network.blink_frames must be odd"),
            ((net.size // net.patch) % 2 ** (len(net.multipliers) - 1) == 0, "network.size / patch must be divisible by 2 for "
             "each entry of network.multipliers but the first"),
            (set(net.attention) <= {net.size // net.patch >> level for level in range(len(net.multipliers))},
             "network.attention must name resolutions that the network has: size / patch, halved for each further multiplier"),
            (all(net.channels * m % net.head_channels == 0 for m in attended), "network.head_channels must divide "
             f"network.channels times each of network.multipliers whose resolution attends, and the last: {attended}"),
            (net.residual == "none" or diffusion.prediction == "x0", f"network.residual {net.residual!r} needs "
             "diffusion.prediction 'x0': noise is no residual on a picture"),
            (self.train.batch > 0 or self.loss.sync == 0, "train.batch must be above 0 where loss.sync is: L_sync needs windows"),
            (self.train.crop == 0 or self.train.batch == 0, "train.crop must be 0 where train.batch is above 0: L_sync "
             "sees whole frames"),
            (self.train.crop <= net.size and self.train.crop % (net.patch * 2 ** (len(net.multipliers) - 1)) == 0,
             "train.crop must not exceed network.size, and be divisible by network.patch, and by 2 for each entry of "
             "network.multipliers but the first"),
            (self.train.steps > 0 or self.train.start is not None, "train.steps must be above 0 where train.start is null"),
            (self.train.batch + self.train.singles > 0, "train.batch and train.singles must not both be 0"),
            (self.loss.frames == 5 or self.loss.sync == 0, "loss.frames must be 5, which the expert sees, or loss.sync 0"),
            (self.train.condition_dropout > 0 or all(s.guidance_audio == s.guidance_blink == 1 for s in samplings),
             "sample.guidance_audio and sample.guidance_blink must be 1 where train.condition_dropout is 0: "
             "the network has not learnt to do without the condition"),
            (self.train.nodes * self.train.processes * self.train.accumulate <= self.train.batch + self.train.singles,
             "train.nodes times train.processes times train.accumulate must not exceed train.batch + train.singles: each part "
             "of a step needs a window or a frame"),
            (all(s.steps <= diffusion.timesteps for s in samplings), "sample.steps must not exceed diffusion.timesteps"),
            (all(s.shared_noise < 1 or s.interpolation == 0 for s in samplings), "sample.interpolation must be 0 where "
             "shared_noise is 1: nothing is left to mix"),
            (self.metrics.held_out or all("held_out" not in m.splits for m in self.methods.values()),
             "methods.*.splits must not name held_out where metrics.held_out is false: these clips are not measured"),
            (self.index.long_min_s > 0 or all("test_long" not in m.splits for m in self.methods.values()),
             "methods.*.splits must not name test_long where index.long_min_s is 0: there is no such split"),
            (self.corpus.source != "rendered" or made.long_s == 0 or 0 < self.index.long_min_s <= made.long_s,
             "corpus.rendered.long_s must be 0, or index.long_min_s above 0 and no larger: the long clip is for the test"),
            (self.data not in (Path(self.cremad.folder), *Path(self.cremad.folder).parents), "cremad.folder must lie outside "
             f"{self.data}, which is the run's: other runs use it, too"),
        ]  # fmt: skip
        broken = [message for holds, message in rules if not holds]
        if broken:
            raise ValueError("; ".join(broken))
        return self

    @property
    def default_model(self) -> Path:
        """The model that makes portraits talk where none is named: of the first row of ``talking``, else of ``trained``."""
        return self.data / "models" / [*self.talking, *self.trained, "full"][0]

    def sampling(self, method: str) -> Sample:
        """Section ``sample`` as a method has it, with the settings of its own."""
        return Sample.model_validate(overrides.over(self.sample.model_dump(), self.methods[method].sample))

    def trained_as(self, method: str) -> Params:
        """The parameters with a hifidiff row's differences from its ``settings``: parts of network, loss and train.

        Raises:
            ValueError: a section that it can't have, or a value that is not allowed.
        """
        own, where = self.methods[method].settings, f"methods.{method}.settings"
        if not own:
            return self
        raw = self.model_dump()
        raw["methods"][method]["settings"] = {}
        for section, values in own.items():
            if section not in OWN_SECTIONS or not isinstance(values, dict):
                raise ValueError(f"{where}.{section} is not a setting; allowed: values of {', '.join(OWN_SECTIONS)}")
        try:
            return Params.model_validate(overrides.over_sections(raw, own))
        except ValidationError as error:
            raise ValueError("; ".join(explain(e, f"{where}: ") for e in error.errors())) from None

    def shown_in(self, table: Table) -> list[str]:
        """The methods that a table shows, in order."""
        return [name for name, method in self.methods.items() if table in method.tables]

    @property
    def has_study(self) -> bool:
        """True if the report holds a study of samplers: a row of that table is sampled, and it is not the truth alone."""
        return any(self.methods[name].kind != "truth" for name in self.shown_in("samplers"))

    def sampled_on(self, split: Split) -> list[str]:
        """The methods that are sampled on a split, in order; the truth is not sampled."""
        return [name for name, method in self.methods.items() if split in method.splits and method.kind != "truth"]

    @property
    def data(self) -> Path:
        """``data/<run>``."""
        return Path("data") / self.run

    @property
    def reports(self) -> Path:
        """``reports/<run>``."""
        return Path("reports") / self.run


def load(path: str | Path = PARAMS_FILE) -> Params:
    """Read and validate a parameter file; one of ``presets/`` that holds only differences is merged with its base's.

    Raises:
        ParameterError: naming the file, each offending key, its value and what is allowed.
    """
    path = Path(path)
    try:
        raw = parse(presets.whole(path), path)
    except FileNotFoundError:
        raise ParameterError(f"{path}: no such file; run from the project's root, or 'make use RUN=demo'") from None
    return validate(raw, path)


class _TwiceError(yaml.MarkedYAMLError):
    """A key that stands twice in one section."""


class _Once:
    """Refuses a key that stands twice: PyYAML would take the last, DVC neither."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and lines.setdefault((key.tag, key.value), line) != line:
                problem = f"line {line}: {key.value} stands twice, first in line {lines[key.tag, key.value]}"
                raise _TwiceError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)  # type: ignore[misc]


class _Loader(_Once, yaml.SafeLoader):
    """Names the place of an error."""


class _QuickLoader(_Once, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Ten times as fast, by libyaml, where PyYAML was built with it; its errors are worded otherwise."""


def parse(text: str, path: str | Path) -> Any:
    """The content of a parameter file, not validated.

    Raises:
        ParameterError: it is not YAML, or a key stands twice; names the line.
    """
    try:
        return yaml.load(text, _QuickLoader)
    except yaml.YAMLError:
        pass
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, error.problem or error.context
        if isinstance(error, _TwiceError):
            raise ParameterError(f"{path}: {error.problem}; keep one of the two") from None
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise ParameterError(
            f"{path}: not valid YAML: {where}: {problem}; correct that line or the one above"
        ) from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ParameterError(f"{path}: not valid YAML: {problem}; take that character out") from None


def validate(raw: Any, path: str | Path = PARAMS_FILE) -> Params:
    """Validate settings that were already read, as Snakemake's ``config``; raises like :func:`load`."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        node = _nodes(path)
        lines = [explain(e, written=_written(node, e["loc"], e["input"])) for e in error.errors()]
        raise ParameterError(f"{path}: " + "; ".join(lines)) from None


def _nodes(path: str | Path) -> yaml.Node | None:
    """The file as YAML's nodes, which hold values as they are written; None where it can't be read now."""
    try:
        return yaml.compose(presets.whole(Path(path)), _Loader)
    except (OSError, yaml.YAMLError, ParameterError):
        return None


def _written(node: yaml.Node | None, keys: Sequence[str | int], value: Any) -> str | None:
    """The ``value`` at some keys as the file writes it: ``0x1f``, not 31; None if the file lacks it."""
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            node = next((inner for own, inner in node.value if own.value == str(key)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        else:
            return None
    if not isinstance(node, yaml.ScalarNode) or _Loader("").construct_document(node) != value:
        return None
    return str(node.value)


def check_method(name: str, allowed: Iterable[str]) -> None:
    """Refuse a ``--method`` that is none of ``allowed`` with a :class:`ParameterError`."""
    if name not in (names := list(allowed)):
        raise ParameterError(f"--method is {name!r}; allowed: {', '.join(names)}")


def explain(error: Any, prefix: str = "", written: str | None = None) -> str:
    """One of pydantic's errors in a line: the key (after ``prefix``), its value (as it is ``written``) and what is allowed."""
    key = prefix + ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "value_error":  # of a validator above, whose message names keys itself
        return str(error["ctx"]["error"])
    value = error["input"]
    if error["type"] == "missing":
        return f"{key} is missing; add it (presets/demo.yaml shows every key)"
    if error["type"] == "extra_forbidden":
        return f"{key} is not a setting; remove it or correct its name"
    kind = next((name for types, name in YAML_READS if isinstance(value, types)), "")
    if error["type"] == "string_type" and kind:
        return f"{key} is {value if written is None else written}, which YAML reads as {kind}; put it in quotes"
    shown = ""
    if isinstance(value, str):
        shown = f" is {value!r}"
    elif kind:
        shown = f" is {value if written is None else written or 'empty'}"
    return f"{key}{shown}; allowed: {error['msg'][0].lower()}{error['msg'][1:]}"
