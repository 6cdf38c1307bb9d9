from ag3d.preprocessing.normals.backends import network_file
from ag3d.preprocessing.onnx_weights import external_weights

NORMAL_NETWORK = [
    own("normals.network", str(path))
    for file in [network_file(settings.normals)]
    if file is not None
    for path in (file, *external_weights(file))
]


rule normals:
    input:
        config=config_file(D, "normals"),
        aligned=f"{D}/alignment/{{shard}}.zip",
        aligned_table=f"{D}/alignment/{{shard}}.parquet",
        body=ancient(BODY),
        network=NORMAL_NETWORK,
        folder=(
            ancient(own("normals.folder", settings.normals.folder))
            if settings.normals.method == "folder"
            else []
        ),
    output:
        pictures=f"{D}/normals/{{shard}}.zip",
        table=f"{D}/normals/{{shard}}.parquet",
    log:
        f"{D}/logs/normals/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/normals/{{shard}}.tsv"
    resources:
        **job(2000, 240),
    message:
        "Estimating normals: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.normals --aligned {input.aligned:q} --body {input.body:q}"
        " --output {output.pictures:q} --config {input.config:q} > {log} 2>&1"
