from ag3d.core.files import existing
from ag3d.preprocessing.normals.backends import network_file

NORMAL_NETWORK = [
    local(str(path)) for path in [network_file(settings.normals)] if path is not None
]


rule normals:
    input:
        aligned=f"{D}/aligned/{{shard}}.zip",
        aligned_table=f"{D}/aligned/{{shard}}.parquet",
        body=ancient(BODY),
        network=NORMAL_NETWORK,
        folder=(
            ancient(local(existing(settings.normals.folder, "normals.folder")))
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
    conda:
        "../../envs/ag3d.yaml"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(240),
    params:
        settings=section("normals"),
    message:
        "Estimating normals: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.normals --aligned {input.aligned} --body {input.body}"
        " --output {output.pictures} --settings {params.settings:q} > {log} 2>&1"
