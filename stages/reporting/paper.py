"""The paper's printed numbers, to read beside ours, and this project's own readings of the paper.

HifiDiff: High-Fidelity Talking Face Video Synthesis via Conditional Diffusion (Phan, Yang, Kim, Shin, Kim). CREMA-D, 128 px,
FVD by I3D, FID by Inception, LSE-C by SyncNet: none of these numbers may be compared with a run on another corpus, at
another resolution, in other features. ``docs/reading.md`` is our reading at length.
"""

from __future__ import annotations

from stages.base.params import Params

COLUMNS = ("FVD ↓", "FID ↓", "Blinks/s", "Blink duration", "LSE-C ↑")


def apart(settings: Params) -> str:
    """The reasons against comparing this run's rows with the paper's."""
    other = [f"{settings.network.size}×{settings.network.size} pixels"] if settings.network.size != 128 else []
    other += ["another corpus"] if settings.corpus.source in ("rendered", "folder") else []
    other += ["other features"] if not {"inception", "i3d", "syncnet"} <= set(settings.metrics.public) else []
    return (
        "Printed by the paper: CREMA-D, 128×128 pixels, I3D, Inception and SyncNet features. Not comparable with the rows of "
        f"this run, which has {', '.join([*other, 'other clips'])}; shown for the form only."
    )


TABLE1: tuple[tuple[str, ...], ...] = (
    ("GT", "–", "–", "0.24", "0.40", "5.88"),
    ("SDA", "376.48", "79.82", "0.25", "0.26", "5.10"),
    ("MakeItTalk", "256.88", "17.26", "0.02", "0.80", "3.71"),
    ("Wav2Lip", "193.32", "12.57", "–", "–", "6.08"),
    ("PC-AVS", "333.94", "22.53", "0.02", "0.20", "5.67"),
    ("EAMM", "196.82", "19.40", "–", "–", "4.22"),
    ("Diffused Heads", "88.614", "12.45", "0.28", "0.36", "4.56"),
    ("HifiDiff", "74.68", "11.51", "0.30", "0.27", "5.73"),
)
TABLE2: tuple[tuple[str, ...], ...] = (
    ("GT", "–", "–", "0.24", "0.40", "5.88"),
    ("Set 1, without blinking", "72.29", "11.39", "–", "–", "5.82"),
    ("Set 2, full input", "74.68", "11.51", "0.30", "0.27", "5.73"),
    ("Set 3, without masked face", "487.93", "18.06", "1.00", "0.12", "4.58"),
)

# Departures of a run from the paper, and points that can be read in two ways: (item, the paper, here).
_DEVIATIONS: tuple[tuple[str, str, str], ...] = (
    ("corpus", "CREMA-D, 91 speakers, 7,442 clips", "rendered and synthesised speakers, made by this project"),
    ("resolution", "128×128", "the value of network.size below; demo: 64×64, pixel-unshuffled by 2"),
    ("network", "128 base channels, multipliers 1, 2, 2, 4", "the same shape with fewer channels; see network.*"),
    (
        "prediction",
        "noise (eq. 1); x̂₀ derived for the other terms",
        "diffusion.prediction; demo: x₀, so that L_simple equals L_L2",
    ),
    ("steps at inference", "50", "sample.steps; 50 is available, the demo takes fewer"),
    (
        "perceptual term",
        "text: VGG-19 features; citation: LPIPS",
        "LPIPS with VGG-16 where its weights are present; demo: an image pyramid",
    ),
    (
        "L_sync",
        "“minimising the cosine similarity”, pretrained SyncNet",
        "−log of the similarity, by the expert that expert.source names: Wav2Lip’s public one, or, as in the demo, a small one "
        "trained here on the training clips",
    ),
    (
        "mask",
        "“a facial region mask” from 68 landmarks",
        "hull of the clip’s landmarks up to its largest jaw opening, dilated, so that it cannot show the mouth",
    ),
    (
        "reference frame",
        "“reference frames”",
        "training: a random frame of the clip; inference: its first. network.reference; demo: moved onto each frame by the head "
        "motion that carries the mask, except where the masked face is dropped and the motion is not known",
    ),
    (
        "blink and pose at inference",
        "not given",
        "taken from the test clip itself: these rows measure control, not prediction",
    ),
    (
        "terms on x̂₀ where noise is predicted",
        "no weight",
        "ᾱ at each image’s timestep, without which the last timesteps would be all of L_L2; the demo predicts x₀ and needs none",
    ),
    ("timesteps in training", "not given; DDPM: uniform", "the noisiest of train.latest_of draws; 1 is uniform"),
    ("output", "not given", "network.residual; demo: the network’s addition to the reference frame"),
    (
        "pixels in the loss",
        "not given",
        "those of the mask, mouth and eyes weighted up: loss.mouth_weight, loss.eye_weight",
    ),
    (
        "blinks in training",
        "not given",
        "train.blink_share of the windows hold one; not in the setting without blinking",
    ),
    (
        "frame interpolation",
        "cites DDPM’s latent interpolation",
        "x_T mixed with the frame before: sample.interpolation; the demo shares it along the clip instead: sample.shared_noise",
    ),
    (
        "without the masked face",
        "“all inputs except masked face”",
        "its three channels are dropped, and nothing is put back around the face",
    ),
    ("split", "90 % / 10 %", "two speakers only in the test, and sentences of the seen ones that no training clip has"),
)


# The same on CREMA-D, where they differ.
_ON_CREMAD = {
    "corpus": ("CREMA-D, 91 speakers, 7,442 clips", "CREMA-D; clips left out stand above, with the reason"),
    "split": (
        "90 % / 10 %, following Diffused Heads",
        "the speakers of index.unseen_speakers are the test and nothing else; Diffused Heads: ten of the 91",
    ),
}


def deviations(settings: Params) -> list[tuple[str, str, str]]:
    """The rows of the report's table of deviations."""
    networks = {"i3d": "I3D", "inception": "Inception", "syncnet": "SyncNet"}
    public = [title for name, title in networks.items() if name in settings.metrics.public]
    own = "encoders trained on the corpus’s training clips, with other seeds and architecture than the loss’s expert"
    here = own if not public else f"{', '.join(public)} by their public weights; beside them {own}"
    known = [*_DEVIATIONS]
    if settings.corpus.source == "cremad":
        known = [(what, *_ON_CREMAD.get(what, words)) for what, *words in known]
    if settings.corpus.source == "folder":
        shards = settings.corpus.shards
        speakers = "1 speaker" if len(shards) == 1 else f"{len(shards)} speakers"
        test = []
        if settings.index.unseen_speakers:
            test.append(f"all clips of {', '.join(settings.index.unseen_speakers)}")
        if settings.index.test_fraction:
            test.append(f"{settings.index.test_fraction:.0%} of the others' clips, at random")
        own_words = {"corpus": f"own videos of {speakers}", "split": " and ".join(test) or "see index.*"}
        known = [(what, said, own_words.get(what, here)) for what, said, here in known]
    return [*known, ("features of the distances", "I3D, Inception, SyncNet", here)]
