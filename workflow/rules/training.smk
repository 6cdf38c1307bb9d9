# What the training depends on: its own settings and those of everything before it. The machine's settings are not
# among them, and neither is the data set's content: adding photographs does not restart a training of days by itself;
# raising dataset.version does.
DATA = section(
    "body",
    "photos",
    "synthetic",
    "people",
    "matting",
    "fitting",
    "alignment",
    "normals",
    "dataset",
)


def until_milestone(chosen, kimg):
    """What a milestone depends on: neither how long to train and where milestones lie, nor stages that begin later."""
    training = to_mapping(chosen.training)
    del training["kimg"], training["milestones"]
    training["stages"] = [
        stage.named() | {"from_kimg": stage.from_kimg}
        for stage in chosen.training.stages_until(float(kimg))
    ]
    return DATA | {"network": to_mapping(chosen.network), "training": training}


def beginning(chosen):
    """The weights that a training begins with, if it names any."""
    folder = chosen.training.resume_from
    return ancient(own("training.resume_from", folder)) if folder else []


for kimg in MILESTONES:
    config_file(R, f"training/{kimg}", until_milestone(settings, kimg))
# Always `ancient`: a change of the machine must not retrain.
MACHINE = config_file(R, "machine")


# A milestone also holds the state to go on from, which on a disk may be deleted to save space, so no rule declares it. From a
# remote storage a job is given only what is declared.
REMOTE = bool(workflow.storage_settings.default_storage_provider)
STATE = ["state.safetensors", "state.json"] if REMOTE else []


def previous(wildcards):
    """The milestone before this one, which its training goes on from."""
    index = MILESTONES.index(wildcards.kimg)
    names = ["checkpoint.json", *STATE]
    return [f"{R}/training/{MILESTONES[index - 1]}/{name}" for name in names if index]


if settings.machine.nodes > 1:
    # srun starts one torchrun a node, so the job asks for as many tasks; GPUs are counted on each node.
    TRAINING_NODES = dict(
        nodes=settings.machine.nodes,
        tasks=settings.machine.nodes,
        tasks_per_gpu=0,
        mpi="srun",
    )
    if settings.machine.gpus:
        TRAINING_NODES["gres"] = f"gpu:{settings.machine.gpus}"
    GPUS = str(settings.machine.gpus)
else:
    # Without the number of nodes, Slurm may spread a job's GPUs over several.
    TRAINING_NODES = dict(nodes=1, gpu=settings.machine.gpus)
    GPUS = "{resources.gpu}"


rule training:
    input:
        previous=previous,
        config=f"{R}/config/training/{{kimg}}.json",
        machine=ancient(MACHINE),
        beginning=beginning(settings),
        data=ancient(shards("{D}/dataset/{shard}.zip")),
        index=ancient(f"{D}/index.json"),
        body=ancient(BODY),
    output:
        f"{R}/training/{{kimg}}/generator_ema.safetensors",
        f"{R}/training/{{kimg}}/generator.safetensors",
        f"{R}/training/{{kimg}}/discriminator.safetensors",
        f"{R}/training/{{kimg}}/checkpoint.json",
        expand(f"{R}/training/{{{{kimg}}}}/{{name}}", name=STATE),
    log:
        f"{R}/logs/training/{{kimg}}.log",
    benchmark:
        f"{R}/benchmarks/training/{{kimg}}.tsv"
    threads: 64
    resources:
        **TRAINING_NODES,
        mem_mb=8000,
        runtime=1440,
    params:
        data_name=digest(DATA),
    message:
        "Training up to {wildcards.kimg} kimg"
    shell:
        "python -m ag3d.core.launch --nodes {resources.nodes} --gpus "
        + GPUS
        + " --threads {threads}"
        " ag3d.model.training --data {input.data:q} --index {input.index:q} --data-name {params.data_name} --body {input.body:q}"
        " --config {input.config:q} {input.machine:q} --kimg {wildcards.kimg} --output $(dirname {output[0]:q})"
        " --state $(dirname $(dirname {output[0]:q})) > {log} 2>&1"
