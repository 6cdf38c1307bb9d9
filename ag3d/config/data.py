"""Settings of the stages from photographs to the data set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ag3d.config.settings import device_option, option
from ag3d.core.errors import UserError


@dataclass
class Synthetic:
    """The open demo people, where photos.source is synthetic."""

    seed: int = option(0, "seed of the people", low=0)
    count: int = option(160, "how many photographs", low=1)


@dataclass
class Photos:
    """Where the photographs come from."""

    source: str = option(
        "synthetic",
        "synthetic: the open demo people, rendered here; folder: your own photographs; zip: a data set of AG3D's layout, taken over as it is",
        choices=("synthetic", "folder", "zip"),
    )
    path: str = option(
        "", "folder of photographs, searched with its sub-folders; or a zip, or a folder of zips", path=True
    )
    layout: str = option(
        "",
        "a data set as its owners deliver it, which is checked first: deepfashion, ubcfashion",
        choices=("", "deepfashion", "ubcfashion"),
    )
    include: str = option(
        "", "file with the names of those photographs of the folder to take, one a line; empty: all", path=True
    )
    shards: int = option(
        2, "into how many shards the photographs are divided; fixed for the life of a data set", low=1, high=100_000
    )
    max_pixels: int = option(16_000_000, "photographs larger than this are read at a reduced size", low=65_536)
    min_side: int = option(128, "photographs whose shorter side is smaller (pixels) are rejected", low=1)
    frames_per_second: float = option(2.0, "videos: how many frames of a second are taken", low=0.001, high=1000)
    frame_stride: int = option(0, "videos: take each so many frames instead; 0: by frames_per_second", low=0)


@dataclass
class BodyModel:
    """The parametric body."""

    file: str = option("open", "open: the CC0 body, built here; or a path to a licensed SMPL .pkl or .npz", path=True)


@dataclass
class People:
    """Finding people and their landmarks."""

    min_score: float = option(0.5, "detections below this score are ignored", low=0, high=1)
    min_height: int = option(96, "people shorter than this (pixels) are rejected", low=1)
    min_visibility: float = option(0.5, "a landmark counts as visible from this value on", low=0, high=1)
    max_overlap: float = option(
        0.2,
        "rejected as several people: more of another's landmarks (share) lie within the main person's box",
        low=0,
        high=1,
    )
    min_face: float = option(
        0.8, "a face is seen from this score on: its person is not seen from behind", low=0, high=1
    )
    face_reject_below: float = option(
        0.5,
        "none is seen up to this score: the person is not seen from the front; whose landmarks say otherwise is rejected",
        low=0,
        high=1,
    )


@dataclass
class OnnxInput:
    """A network of your own: an .onnx file that takes one picture, and how the picture is put into it."""

    file: str = option("", "the .onnx file", path=True)
    layout: str = option(
        "nchw", "order of the input's dimensions: channels before rows and columns, or after", choices=("nchw", "nhwc")
    )
    size: int = option(0, "side of the input (pixels), where the file leaves it open; 0: as the file says", low=0)
    colours: str = option("rgb", "order of the colours", choices=("rgb", "bgr"))
    range: list[float] = option([0.0, 1.0], "what black and white become")
    mean: list[float] = option([0.0], "subtracted after that: one number, or one a colour")
    std: list[float] = option([1.0], "divided by after that: one number, or one a colour")
    input: str = option("", "name of the input; may be left out where there is one")
    output: str = option("", "name of the output; may be left out where there is one")


@dataclass
class OnnxMatting(OnnxInput):
    """A matting network of your own (method: onnx). It sees the upright square around the person."""

    channel: int = option(-1, "which channel of the output is the person; -1: the last", low=-1)
    activation: str = option(
        "none",
        "what turns the output into shares of the person: none where it is one already",
        choices=("none", "sigmoid", "softmax"),
    )
    refine: bool = option(False, "draw the edges after those of the photograph; for coarse masks, not for mattes")


@dataclass
class PaddleMatting:
    """A model that PaddleSeg exported (method: paddleseg), run in its own environment: make paddleseg."""

    model: str = option("", "folder of the exported model: deploy.yaml and the files that it names", path=True)
    python: str = option(".venv-paddleseg/bin/python", "Python of PaddleSeg's environment", path=True)
    refine: bool = option(
        False, "draw the edges after those of the photograph; for segmentation, not for matting models"
    )


@dataclass
class OnnxNormals(OnnxInput):
    """A normal network of your own (method: onnx). It sees the aligned crop."""

    background: str = option("white", "what the person stands before", choices=("white", "grey", "black"))
    body: bool = option(
        False, "the fitted body's normals (-1 to 1, zero outside; x right, y up, z to the viewer) follow the colours"
    )
    output_range: list[float] = option([-1.0, 1.0], "values of the output that mean -1 and 1")
    axes: str = option(
        "x y z", "what the output's channels are, with x right, y up, z to the viewer; x -y -z: y down, z away"
    )

    def __post_init__(self) -> None:
        named = re.fullmatch(r"\s*[+-]?([xyz])[\s,]*[+-]?([xyz])[\s,]*[+-]?([xyz])\s*", self.axes.lower())
        if named is None or len(set(named.groups())) < 3:
            raise UserError(
                f"configuration: 'normals.onnx.axes' is {self.axes!r}; name the three axes, such as 'x y z' or 'x -y -z'"
            )
        if len(self.output_range) != 2 or self.output_range[0] == self.output_range[1]:
            raise UserError(
                f"configuration: 'normals.onnx.output_range' is {self.output_range}; two different numbers are needed"
            )


@dataclass
class Matting:
    """Separating the person from the background."""

    method: str = option(
        "blazepose",
        "blazepose: the mask of the landmark network, refined; onnx: your own network; paddleseg: a model of PaddleSeg's; folder: mattes made elsewhere",
        choices=("blazepose", "onnx", "paddleseg", "folder"),
    )
    folder: str = option("", "folder: where the mattes are, each with its photograph's name", path=True)
    threshold: float = option(0.5, "alpha above this counts as the person", low=0, high=1)
    min_area: float = option(
        0.02, "mattes that cover less of the square around the person (share) are rejected", low=0, high=1
    )
    min_joints: float = option(
        0.75, "mattes that hold fewer of the person's visible joints (share) are rejected", low=0, high=1
    )
    onnx: OnnxMatting = option(OnnxMatting, "")
    paddle: PaddleMatting = option(PaddleMatting, "")


@dataclass
class FitImport:
    """Fits made elsewhere (method: import)."""

    path: str = option("", "file or folder of the fits (.npz, or .pkl of plain arrays)", path=True)
    kind: str = option(
        "hmr2", "who made them: PyMAF, 4D-Humans (HMR2), SMPLify-X", choices=("pymaf", "hmr2", "smplifyx")
    )
    focal: float = option(5000.0, "smplifyx: focal length of its camera (pixels of the photograph)", low=1)


@dataclass
class Fitting:
    """Fitting the body to landmarks and matte."""

    method: str = option(
        "optimise",
        "optimise: fit here; import: take fits made elsewhere, which are checked like those made here",
        choices=("optimise", "import"),
    )
    imports: FitImport = option(FitImport, "")
    iterations: int = option(120, "optimiser steps with landmarks and matte, after 100 with landmarks only", low=1)
    batch: int = option(64, "people fitted at once", low=1)
    uncertainty_samples: int = option(
        3,
        "fits to landmarks moved at random, from which each joint's uncertainty is estimated; 0: none",
        low=0,
        high=64,
    )
    temporal_sigma: float = option(
        0.0,
        "videos: over how many of the frames taken (standard deviation) poses are smoothed, with one shape a video; 0: not at all",
        low=0,
        high=100,
    )
    device: str = device_option()
    max_reprojection: float = option(
        0.05, "fits with a larger mean landmark error (fraction of the body's height) are rejected", low=0
    )
    max_out_of_frame: float = option(
        0.1, "people with a larger share of the body's surface outside the photograph are rejected", low=0, high=1
    )
    min_silhouette_iou: float = option(0.5, "fits whose silhouette overlaps the matte less are rejected", low=0, high=1)


@dataclass
class Alignment:
    """Crops in the network's frame."""

    resolution: int = option(0, "side of the aligned crops (pixels); 0: the data set's", low=0, high=4096)
    min_sharpness: float = option(
        0.22,
        "people less sharp are rejected: some 0.5 to 0.8 is sharp, 0.2 blurs what is smaller than 2 cm; 0: keep all",
        low=0,
        high=1,
    )


@dataclass
class Normals:
    """Normal maps of the aligned crops."""

    method: str = option(
        "network",
        "body: the fitted body's normals inside the matte; network: ours, which sees folds, hair and skirts; onnx: yours; folder: maps made elsewhere",
        choices=("body", "network", "onnx", "folder"),
    )
    folder: str = option("", "folder: where the normal maps of the aligned crops are, <person_id>.png", path=True)
    network: str = option(
        "", "weights of our network (.safetensors); empty: those that come with the project", path=True
    )
    onnx: OnnxNormals = option(OnnxNormals, "")


@dataclass
class Dataset:
    """The data set that the network is trained on."""

    resolution: int = option(
        0,
        "side of the data set's images (pixels); 0: the network's image_resolution, the largest of all stages'",
        low=0,
        high=4096,
    )
    dedup_max_hamming: int = option(
        16,
        "people whose crops' fingerprints differ in at most so many of 256 bits are copies, of which the sharpest stays; -1: keep all",
        low=-1,
        high=256,
    )
    version: int = option(
        1,
        "raise it to train anew on changed data; training does not restart by itself when photographs are added",
        low=0,
    )
