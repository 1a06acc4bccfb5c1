"""EAMM's settings, and those of its paper."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.base import params
from stages.methods import systems


class Settings(systems.SystemSettings):
    """``methods.<row>.settings``; the paper's values are in :data:`PAPER`."""

    points: params.Natural = Field(description="key points; paper: 10")
    levels: params.Natural = Field(description="of the hourglasses; paper: 5")
    width: params.Natural = Field(description="the key points' hourglass's; paper: 32")
    motion_width: params.Natural = Field(description="the dense motion's hourglass's; paper: 64")
    widest: params.Natural = Field(description="channels that an hourglass has at most; paper: 1024")
    shrunk: params.Natural = Field(description="side of a picture over that of the maps; paper: 4, of 256 pixels")
    generator_width: params.Natural = Field(description="first layer of the generator; paper: 64")
    halvings: params.Natural = Field(description="of its resolution; paper: 2")
    blocks: params.Natural = Field(description="residual blocks; paper: 6")
    residual: bool = Field(description="add the picture to the warped source; paper: no")
    perceptual: params.Positive = Field(
        description="weight of the Laplacian pyramid's distance; paper: 10, of VGG-19's features"
    )
    l1: Annotated[float, Field(ge=0)] = Field(description="weight of the absolute difference; paper: 0")
    mouth_weight: params.Positive = Field(description="picture losses' weight of the mouth; paper: 1")
    equivariance: Annotated[float, Field(ge=0)] = Field(
        description="weight of the key points' agreement under a random affine map, places and Jacobians; paper: 10"
    )
    pull: Annotated[float, Field(ge=0)] = Field(
        description="weight of the key points' distance from groups of landmarks; 0 (paper): they are found without"
    )
    first_order: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of the steps that train the first-order model"
    )
    emotion_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="share of the steps, the last ones, that train the emotion's displacement; 0: the model has none. Sound to "
        "motion has the rest"
    )
    emotion_width: params.Natural = Field(description="first layer of the emotion's residual network; paper: 64")
    emotion: Literal["none", "first_frame", "video"] = Field(
        description="whose expression is added to what the sound tells: no one's, the first frame's, or that of each frame of "
        "the test video, its mouth covered; paper: a video's, where the published program is asked to (--add_emo)"
    )
    audio_steps: params.Natural = Field(
        description="mel steps around a frame, 80 a second; paper: 28 of MFCC, 100 a second"
    )
    pooled: tuple[params.Natural, params.Natural] = Field(
        description="steps and bands that are averaged; paper: 13 MFCC"
    )
    sound_width: params.Natural = Field(description="first layer of the sound encoder; paper: 64")
    sound_hidden: params.Natural = Field(description="its hidden layer; paper: 2048")
    picture_width: params.Natural = Field(description="first layer of the still frame's encoder; paper: 4")
    lstm: params.Natural = Field(description="width of the LSTM; paper: 256")
    lstm_layers: params.Natural = Field(description="its layers; paper: 3")
    motion: Literal["map", "direct"] = Field(
        description="key points from a feature map (paper), or the still frame's and a linear map of the LSTM"
    )
    amplify: params.Positive = Field(description="what the sound's code is multiplied by in sampling; paper: 1.6")
    pose: Literal["first_frame", "video"] = Field(
        description="whose pose each frame is given: the first frame's, or its own in the test video; paper: a file's"
    )
    images: params.Natural = Field(description="pairs of a step of the first-order model; paper: 40")
    sequences: params.Natural = Field(description="of a step of sound to motion; paper: 8")
    frames: params.Natural = Field(description="of such a sequence; paper: 16")
    learning_rate: params.Positive = Field(description="of both parts; paper: 2e-4")
    beta_1: params.Fraction = Field(description="Adam's; paper: 0.5")
    warmup: params.Count = Field(description="steps of linear warm-up of each part; paper: 0")
    decay: Literal["constant", "cosine"] = Field(
        description="of each part's rate; paper: a tenth after 60 epochs, and again after 90"
    )
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(description="running average of all weights; 0 (paper): none")


PAPER: dict[str, Any] = {
    "points": 10,
    "levels": 5,
    "width": 32,
    "motion_width": 64,
    "widest": 1024,
    "shrunk": 4,
    "generator_width": 64,
    "halvings": 2,
    "blocks": 6,
    "residual": False,
    "perceptual": 10.0,
    "l1": 0.0,
    "mouth_weight": 1.0,
    "equivariance": 10.0,
    "pull": 0.0,
    "first_order": 0.5,
    "emotion_share": 0.25,
    "emotion_width": 64,
    "emotion": "none",
    "audio_steps": 24,
    "pooled": (1, 4),
    "sound_width": 64,
    "sound_hidden": 2048,
    "picture_width": 4,
    "lstm": 256,
    "lstm_layers": 3,
    "motion": "map",
    "amplify": 1.6,
    "pose": "first_frame",
    "images": 40,
    "sequences": 8,
    "frames": 16,
    "learning_rate": 2e-4,
    "beta_1": 0.5,
    "warmup": 0,
    "decay": "constant",
    "ema": 0.0,
}
