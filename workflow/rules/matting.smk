from ag3d.core.files import existing
from ag3d.preprocessing.matting.paddleseg import paddle_files
from ag3d.preprocessing.onnx_model import onnx_file


def matting_files():
    """What the mattes are made from, beside photographs and people."""
    if settings.matting.method == "onnx":
        return local(str(onnx_file(settings.matting.onnx, "matting.onnx")))
    if settings.matting.method == "paddleseg":
        return [local(str(path)) for path in paddle_files(settings.matting.paddle)]
    if settings.matting.method == "folder":
        return ancient(local(existing(settings.matting.folder, "matting.folder")))
    return ancient(BLAZEPOSE)


MATTING_MODELS = (
    " --models $(dirname {input.network[0]})"
    if settings.matting.method == "blazepose"
    else ""
)


rule matting:
    input:
        manifest=f"{D}/photos/{{shard}}.parquet",
        people=f"{D}/people/{{shard}}.parquet",
        network=matting_files(),
    output:
        pictures=f"{D}/mattes/{{shard}}.zip",
        table=f"{D}/mattes/{{shard}}.parquet",
    log:
        f"{D}/logs/matting/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/matting/{{shard}}.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(240),
    params:
        settings=section("matting"),
    message:
        "Cutting people out: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.matting --manifest {input.manifest} --people {input.people}"
        + MATTING_MODELS
        + " --output {output.pictures} --settings {params.settings:q} > {log} 2>&1"
