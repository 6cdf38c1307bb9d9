# The checked configuration, where files are, and the targets that a person asks for.
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ag3d.config import load, read, to_mapping
from ag3d.core.errors import UserError, printable
from ag3d.core.files import existing, write_json
from ag3d.core.provenance import digest

# Rules call `python -m ag3d...`: the interpreter that runs Snakemake, unless an environment is activated in the job.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
# Read by envs/ag3d.post-deploy.sh, with --sdm conda.
os.environ["AG3D_SOURCE"] = str(workflow.basedir)
# Commands end with the shell that started them: Snakemake takes such a job for failed, and what it would still write could
# take the place of what a later job made.
os.environ["AG3D_ENDS_WITH_SHELL"] = "1"

try:
    # Before Snakemake reads it, where that is possible: Snakemake takes the last of two equal keys without a word, and runs
    # the Python of a file that has the key __use_yte__.
    read(map(Path, workflow.configfiles or ["config.yaml"]))
except UserError as error:
    raise WorkflowError(printable(error))

if not workflow.configfiles:

    configfile: "config.yaml"


try:
    settings = load(config)
except UserError as error:
    raise WorkflowError(printable(error))

D = f"results/{settings.dataset_name}"
R = f"results/{settings.run}"


def own(key, path):
    """A file or folder of the user's, which `key` names: read where it is, also when results are in remote storage."""
    if "{" in path or "}" in path:
        raise WorkflowError(
            f"{key} is {path}: Snakemake cannot read braces in a name; rename it, or link to it by another name"
        )
    try:
        return local(existing(path, key))
    except UserError as error:
        raise WorkflowError(printable(error))


BODY = (
    own("body.file", settings.body.file)
    if settings.body.file != "open"
    else "results/body/body.npz"
)

# Folders that an earlier version named and filled otherwise.
for key, folder, names in (
    ("dataset_name", D, ("mattes", "fits", "aligned")),
    ("run", R, ("ckpt", "train")),
):
    old = [name for name in names if os.path.isdir(f"{folder}/{name}")]
    if old:
        raise WorkflowError(
            f"{folder} holds results of an earlier version ({', '.join(old)}), which this one does not go on with: choose another "
            f"'{key}', or move these folders away (training.resume_from takes the weights of a folder of ckpt)"
        )


SHARDS = [f"{number:05d}" for number in range(settings.photos.shards)]


MILESTONES = settings.training.milestone_names()
LAST = MILESTONES[-1]


wildcard_constraints:
    shard=r"[0-9]+",
    kimg=r"[0-9.]+",


# Path of each file of settings to what it holds.
CONFIG = {}


def section(*keys):
    """Parts of the configuration, each a section ("avatars") or one setting of it ("dataset.version")."""
    part = {}
    for key in keys:
        name, _, setting = key.partition(".")
        values = to_mapping(settings)[name]
        part[name] = (
            part.get(name, {}) | {setting: values[setting]} if setting else values
        )
    return part


def config_file(folder, name, part=None):
    """The path of a file with a part of the configuration (by default the section of that name), for a rule's command.

    A file holds what the command depends on and nothing else; where that changes, rule config writes it anew, and so what
    is made from it is made again.
    """
    path = f"{folder}/config/{name}.json"
    CONFIG[path] = section(name) if part is None else part
    return path


def job(megabytes, minutes):
    """Memory and time of a job: when it is tried again (`retries` of a profile) twice that, then three times."""

    def more(amount):
        return lambda wildcards, attempt: amount * min(attempt, 3)

    return dict(mem_mb=more(megabytes), runtime=more(minutes))


def shards(pattern):
    return [pattern.format(D=D, shard=shard) for shard in SHARDS]


def network(folder):
    """What a milestone's folder holds for those who use the network."""
    return [f"{folder}/checkpoint.json", f"{folder}/generator_ema.safetensors"]


# Some commands name all shards; Linux ends a command's text at 128 KiB.
LONGEST = 110_000 // len(f"{D}/dataset/00000.zip ")
if len(SHARDS) > LONGEST:
    raise WorkflowError(
        f"photos.shards is {len(SHARDS)}; with this name of the data set {LONGEST} are possible: put more photographs into a shard"
    )


localrules:
    config,
    all,
    data,
    train,
    generate,
    evaluate,


rule all:
    input:
        f"{R}/report.html",
        f"{R}/viewer.html",
        f"{R}/tables/comparison.csv",


# Targets to stop at: snakemake --cores all data
rule data:
    input:
        f"{D}/index.json",
        f"{D}/poses.npy",
        f"{D}/rejected.parquet",


rule train:
    input:
        expand(f"{R}/training/{{kimg}}/checkpoint.json", kimg=MILESTONES),


rule generate:
    input:
        f"{R}/avatars/avatars.json",
        f"{R}/viewer.html",


rule evaluate:
    input:
        expand(f"{R}/metrics/{{kimg}}.json", kimg=MILESTONES),


onsuccess:
    report = f"{R}/report.html"
    if os.path.exists(report):
        print(f"\nThe report of this run: {report} (open it in a browser)")


onerror:
    print(
        "\nA stage failed; its last lines are above and its log under the folder logs of the results. Run the same command again to go on."
    )
