from ag3d.preprocessing.onnx_network import onnx_file


rule matting:
    input:
        manifest=f"{D}/photos/{{shard}}.parquet",
        people=f"{D}/people/{{shard}}.parquet",
        network=(
            str(onnx_file(settings.matting.onnx, "matting.onnx"))
            if settings.matting.method == "onnx"
            else ancient(BLAZEPOSE)
        ),
    output:
        f"{D}/mattes/{{shard}}.zip",
    log:
        f"{D}/logs/matting/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/matting/{{shard}}.tsv"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(240),
    params:
        settings=section("matting"),
    message:
        "Cutting people out: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.matting --manifest {input.manifest} --people {input.people} --models results/models/blazepose"
        " --output {output} --settings {params.settings:q} > {log} 2>&1"
