rule alignment:
    input:
        config=config_file(D, "alignment"),
        manifest=f"{D}/photos/{{shard}}.parquet",
        mattes=f"{D}/matting/{{shard}}.zip",
        mattes_table=f"{D}/matting/{{shard}}.parquet",
        fits=f"{D}/fitting/{{shard}}.parquet",
    output:
        pictures=f"{D}/alignment/{{shard}}.zip",
        table=f"{D}/alignment/{{shard}}.parquet",
    log:
        f"{D}/logs/alignment/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/alignment/{{shard}}.tsv"
    resources:
        **job(2000, 240),
    message:
        "Aligning crops: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.alignment --manifest {input.manifest:q} --mattes {input.mattes:q} --fits {input.fits:q}"
        " --output {output.pictures:q} --config {input.config:q} > {log} 2>&1"
