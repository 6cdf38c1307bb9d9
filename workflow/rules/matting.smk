from ag3d.preprocessing.matting.paddleseg import paddle_files
from ag3d.preprocessing.onnx_model import onnx_file
from ag3d.preprocessing.onnx_weights import external_weights


def matting_files():
    """What the mattes are made from, beside photographs and people."""
    if settings.matting.method == "onnx":
        file = onnx_file(settings.matting.onnx, "matting.onnx")
        return [
            own("matting.onnx.file", str(path))
            for path in (file, *external_weights(file))
        ]
    if settings.matting.method == "paddleseg":
        return [
            own("matting.paddle.model", str(path))
            for path in paddle_files(settings.matting.paddle)
        ]
    if settings.matting.method == "folder":
        return ancient(own("matting.folder", settings.matting.folder))
    return ancient(BLAZEPOSE)


MATTING_MODELS = (
    " --models $(dirname {input.network[0]:q})"
    if settings.matting.method == "blazepose"
    else ""
)


rule matting:
    input:
        config=config_file(D, "matting"),
        manifest=f"{D}/photos/{{shard}}.parquet",
        people=f"{D}/people/{{shard}}.parquet",
        network=matting_files(),
    output:
        pictures=f"{D}/matting/{{shard}}.zip",
        table=f"{D}/matting/{{shard}}.parquet",
    log:
        f"{D}/logs/matting/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/matting/{{shard}}.tsv"
    resources:
        **job(2000, 240),
    message:
        "Cutting people out: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.matting --manifest {input.manifest:q} --people {input.people:q}"
        + MATTING_MODELS
        + " --output {output.pictures:q} --config {input.config:q} > {log} 2>&1"
