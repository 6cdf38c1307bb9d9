# The checked configuration, the places of files, and the targets that a person asks for.
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ag3d.config import load, to_mapping
from ag3d.config.settings import read_yaml
from ag3d.core.errors import UserError
from ag3d.core.provenance import digest

# Rules call `python -m ag3d...`: the interpreter that runs Snakemake, unless an environment is activated in the job.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
# Read by envs/ag3d.post-deploy.sh, with --sdm conda.
os.environ["AG3D_SOURCE"] = str(workflow.basedir)

try:
    for file in workflow.configfiles:
        read_yaml(
            Path(file)
        )  # Snakemake's own reading takes the last of two equal keys
    settings = load(config)
except UserError as error:
    raise WorkflowError(str(error))

D = f"results/{settings.dataset_name}"
R = f"results/{settings.run}"
# Files of the user's are read where they are, also when results are kept in a remote storage.
BODY = (
    local(settings.body.file)
    if settings.body.file != "open"
    else "results/body/body.npz"
)
SHARDS = [f"{number:05d}" for number in range(settings.photos.shards)]


MILESTONES = settings.training.milestone_names()
LAST = MILESTONES[-1]


wildcard_constraints:
    shard=r"[0-9]+",
    kimg=r"[0-9.]+",


def section(*names):
    """Sections of the configuration as JSON text: the settings of a stage, and what makes it run again."""
    whole = to_mapping(settings)
    chosen = (
        whole[names[0]] if len(names) == 1 else {name: whole[name] for name in names}
    )
    return json.dumps(chosen, sort_keys=True)


def more(amount):
    """Memory (MB) or minutes of a job: when it is tried again (`retries` of a profile) twice that, then three times."""
    return lambda wildcards, attempt: amount * min(attempt, 3)


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
    settings,
    training_settings,
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
        expand(f"{R}/ckpt/{{kimg}}/checkpoint.json", kimg=MILESTONES),


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
