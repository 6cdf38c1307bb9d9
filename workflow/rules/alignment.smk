rule alignment:
    input:
        manifest=f"{D}/photos/{{shard}}.parquet",
        mattes=f"{D}/mattes/{{shard}}.zip",
        mattes_table=f"{D}/mattes/{{shard}}.parquet",
        fits=f"{D}/fits/{{shard}}.parquet",
    output:
        pictures=f"{D}/aligned/{{shard}}.zip",
        table=f"{D}/aligned/{{shard}}.parquet",
    log:
        f"{D}/logs/alignment/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/alignment/{{shard}}.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(240),
    params:
        settings=section("alignment"),
    message:
        "Aligning crops: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.alignment --manifest {input.manifest} --mattes {input.mattes} --fits {input.fits}"
        " --output {output.pictures} --settings {params.settings:q} > {log} 2>&1"
