# What the training depends on: its own settings and those of everything before it. The machine's settings are not
# among them, and neither is the data set's content: adding photographs does not restart a training of days by itself;
# raising dataset.version does.
DATA_NAME = digest(
    section(
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
)


def until_milestone(training, kimg):
    """What matters to a milestone: neither how long to train and where milestones lie, nor stages that begin later."""
    whole = to_mapping(training)
    del whole["kimg"], whole["milestones"]
    whole["stages"] = [
        stage.named() | {"from_kimg": stage.from_kimg}
        for stage in training.stages_until(float(kimg))
    ]
    return json.dumps(whole, sort_keys=True)


def training_settings(wildcards):
    return until_milestone(settings.training, wildcards.kimg)


# Part of the command and not a parameter: a change of the machine must not retrain.
MACHINE = section("machine").replace("{", "{{").replace("}", "}}")


# A milestone also holds the state to go on from, which on a disk may be deleted to save space, so no rule declares it. From a
# remote storage a job is given only what is declared.
REMOTE = bool(workflow.storage_settings.default_storage_provider)
STATE = ["state.safetensors", "state.json"] if REMOTE else []


def previous(wildcards):
    """The milestone before this one, which its training goes on from."""
    index = MILESTONES.index(wildcards.kimg)
    names = ["checkpoint.json", *STATE]
    return [f"{R}/ckpt/{MILESTONES[index - 1]}/{name}" for name in names if index]


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
        settings=f"{R}/settings/training-{{kimg}}.json",
        data=ancient(shards("{D}/dataset/{shard}.zip")),
        index=ancient(f"{D}/index.json"),
        body=ancient(BODY),
    output:
        f"{R}/ckpt/{{kimg}}/generator_ema.safetensors",
        f"{R}/ckpt/{{kimg}}/generator.safetensors",
        f"{R}/ckpt/{{kimg}}/discriminator.safetensors",
        f"{R}/ckpt/{{kimg}}/checkpoint.json",
        expand(f"{R}/ckpt/{{{{kimg}}}}/{{name}}", name=STATE),
    log:
        f"{R}/logs/training/{{kimg}}.log",
    benchmark:
        f"{R}/benchmarks/training/{{kimg}}.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 64
    resources:
        **TRAINING_NODES,
        mem_mb=8000,
        runtime=1440,
    params:
        data_name=DATA_NAME,
        network=section("network"),
        training=training_settings,
    message:
        "Training up to {wildcards.kimg} kimg"
    shell:
        "python -m ag3d.core.launch --nodes {resources.nodes} --gpus "
        + GPUS
        + " --threads {threads}"
        " ag3d.model.training --data {input.data} --index {input.index} --data-name {params.data_name} --body {input.body}"
        " --network-settings {params.network:q} --settings {params.training:q} --machine '"
        + MACHINE
        + "'"
        " --kimg {wildcards.kimg} --output $(dirname {output[0]})"
        " --state $(dirname $(dirname $(dirname {output[0]})))/train > {log} 2>&1"
