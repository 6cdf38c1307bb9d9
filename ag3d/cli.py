"""The command `ag3d`: one verb for each thing that a person does; `ag3d VERB --help` tells more."""

from __future__ import annotations

import difflib
import importlib
import sys

import ag3d
from ag3d.core import console
from ag3d.core.errors import UserError

# Verb to the module below ag3d that does it, and what that is.
VERBS = {
    "body": ("preprocessing.body.stage", "build the open body from CC0 data"),
    "models": ("preprocessing.models", "fetch the landmark and segmentation models"),
    "synthetic": ("preprocessing.synthetic.__main__", "render open photographs of clothed people, with their truth"),
    "synthetic-dataset": (
        "preprocessing.synthetic.dataset",
        "render open people straight into a data set, with true labels and normals",
    ),
    "source-check": (
        "preprocessing.photos.source_check",
        "check DeepFashion or UBC Fashion, as their owners deliver them",
    ),
    "photos": ("preprocessing.photos.stage", "read a folder of photographs into a manifest"),
    "people": ("preprocessing.people.stage", "find the person in each photograph, with landmarks"),
    "matting": ("preprocessing.matting.stage", "separate people from the background"),
    "landmarks-train": (
        "preprocessing.helpers_training.landmark_training",
        "train the network that relates landmarks to the body",
    ),
    "fitting": ("preprocessing.fitting.stage", "fit the body to landmarks and mattes"),
    "alignment": ("preprocessing.alignment", "cut aligned, labelled crops"),
    "normals": ("preprocessing.normals.stage", "estimate normal maps"),
    "normals-data": (
        "preprocessing.helpers_training.normal_data",
        "pack synthetic people for the training of the normal network",
    ),
    "normals-train": ("preprocessing.helpers_training.normal_training", "train the network that estimates normals"),
    "dedup": ("preprocessing.dataset.dedup", "find people who are shown twice"),
    "dataset": ("preprocessing.dataset.stage", "pack a shard of the training data"),
    "import-zip": ("preprocessing.dataset.import_zip", "take a data set of AG3D's layout over, checked and in shards"),
    "rejected": ("preprocessing.dataset.rejected", "list who was left out, and why"),
    "index": ("preprocessing.dataset.index", "count a data set"),
    "pose-distribution": ("preprocessing.dataset.pose_distribution", "collect the poses of a data set"),
    "training": ("model.training.stage", "train the network, or go on with it"),
    "avatars": ("model.avatars.stage", "make the pictures and videos of a run's avatars"),
    "generate": ("model.avatars.generate", "make images and videos of avatars; find the person of a photograph"),
    "import-checkpoint": ("model.legacy.import_checkpoint", "read a checkpoint that AG3D released (.pkl)"),
    "export": ("model.export.stage", "export meshes and rigged, animated avatars (.glb, .obj, .ply)"),
    "metrics": ("evaluation.metrics.stage", "measure a trained network"),
    "truth": ("evaluation.truth.stage", "compare every stage with the truth about open photographs"),
    "tables": ("evaluation.tables.stage", "make tables from measurements"),
    "ablations": ("evaluation.tables.ablations", "make the table of ablations"),
    "viewer": ("viewer.__main__", "write the page of a run's avatars in 3D"),
    "view": ("viewer.view", "look at avatars in 3D in a browser"),
    "report": ("evaluation.report.__main__", "write the report of a run as one HTML page"),
}


def usage() -> str:
    verbs = "\n".join(f"  {verb:<17} {text}" for verb, (_, text) in VERBS.items())
    return f"""ag3d {ag3d.__version__}: from a folder of photographs to a 3D generative model of clothed people

usage: ag3d VERB [options]        ag3d VERB --help tells the options

{verbs}

The whole chain at once, by a configuration file: snakemake --cores all [--configfile FILE]"""


def main() -> None:
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(usage())
    elif verb in ("-V", "--version"):
        print(ag3d.__version__)
    elif verb not in VERBS:
        console.run(lambda: _unknown(verb))
    else:
        sys.argv = [f"ag3d {verb}", *arguments]
        console.run(importlib.import_module(f"ag3d.{VERBS[verb][0]}").main)


def _unknown(verb: str) -> None:
    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(VERBS)}"
    raise UserError(f"ag3d has no verb '{verb}'; {hint}")
