"""The command `ag3d`: one verb for each thing that a person does; `ag3d VERB --help` tells more."""

from __future__ import annotations

import difflib
import importlib
import sys

import ag3d
from ag3d.core import console
from ag3d.core.errors import UserError

VERBS = {
    "body": ("ag3d.preprocessing.body.stage", "build the open body from CC0 data"),
    "models": ("ag3d.preprocessing.models", "fetch the landmark and segmentation models"),
    "synthetic": (
        "ag3d.preprocessing.synthetic.__main__",
        "render open photographs of clothed people, with their truth",
    ),
    "synthetic-dataset": (
        "ag3d.preprocessing.synthetic.dataset",
        "render open people straight into a data set, with true labels and normals",
    ),
    "source-check": (
        "ag3d.preprocessing.photos.source_check",
        "check DeepFashion or UBC Fashion, as their owners deliver them",
    ),
    "photos": ("ag3d.preprocessing.photos.stage", "read a folder of photographs into a manifest"),
    "people": ("ag3d.preprocessing.people.stage", "find the person in each photograph, with landmarks"),
    "matting": ("ag3d.preprocessing.matting.stage", "separate people from the background"),
    "landmarks-train": (
        "ag3d.preprocessing.helpers_training.landmark_training",
        "train the network that relates landmarks to the body",
    ),
    "fitting": ("ag3d.preprocessing.fitting.stage", "fit the body to landmarks and mattes"),
    "alignment": ("ag3d.preprocessing.alignment", "cut aligned, labelled crops"),
    "normals": ("ag3d.preprocessing.normals.stage", "estimate normal maps"),
    "normals-data": (
        "ag3d.preprocessing.helpers_training.normal_data",
        "pack synthetic people for the training of the normal network",
    ),
    "normals-train": (
        "ag3d.preprocessing.helpers_training.normal_training",
        "train the network that estimates normals",
    ),
    "dedup": ("ag3d.preprocessing.dataset.dedup", "find people who are shown twice"),
    "dataset": ("ag3d.preprocessing.dataset.stage", "pack a shard of the training data"),
    "import-zip": (
        "ag3d.preprocessing.dataset.import_zip",
        "take a data set of AG3D's layout over, checked and in shards",
    ),
    "rejected": ("ag3d.preprocessing.dataset.rejected", "list who was left out, and why"),
    "index": ("ag3d.preprocessing.dataset.index", "count a data set"),
    "pose-distribution": ("ag3d.preprocessing.dataset.pose_distribution", "collect the poses of a data set"),
    "training": ("ag3d.model.training.stage", "train the network, or go on with it"),
    "avatars": ("ag3d.model.avatars.stage", "make the pictures and videos of a run's avatars"),
    "generate": ("ag3d.model.avatars.generate", "make images and videos of avatars; find the person of a photograph"),
    "import-checkpoint": ("ag3d.model.legacy.import_checkpoint", "read a checkpoint that AG3D released (.pkl)"),
    "export": ("ag3d.model.export.stage", "export meshes and rigged, animated avatars (.glb, .obj, .ply)"),
    "metrics": ("ag3d.evaluation.metrics.stage", "measure a trained network"),
    "truth": ("ag3d.evaluation.truth.stage", "compare every stage with the truth about open photographs"),
    "tables": ("ag3d.evaluation.tables.stage", "make tables from measurements"),
    "ablations": ("ag3d.evaluation.tables.ablations", "make the table of ablations"),
    "viewer": ("ag3d.viewer.__main__", "write the page of a run's avatars in 3D"),
    "view": ("ag3d.viewer.view", "look at avatars in 3D in a browser"),
    "report": ("ag3d.evaluation.report.__main__", "write the report of a run as one HTML page"),
}


def usage() -> str:
    lines = [f"  {verb:<17} {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        [
            f"ag3d {ag3d.__version__}: from a folder of photographs to a 3D generative model of clothed people",
            "",
            "usage: ag3d VERB [options]        ag3d VERB --help tells the options",
            "",
            *lines,
            "",
            "The whole chain at once, by a configuration file: snakemake --cores all [--configfile FILE]",
        ]
    )


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if arguments[0] in ("-V", "--version"):
        print(ag3d.__version__)
        return
    verb = arguments[0]
    if verb not in VERBS:
        console.run(lambda: _unknown(verb))
    sys.argv = [f"ag3d {verb}", *arguments[1:]]
    console.run(importlib.import_module(VERBS[verb][0]).main)


def _unknown(verb: str) -> None:
    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(VERBS)}"
    raise UserError(f"ag3d has no verb '{verb}'; {hint}")
