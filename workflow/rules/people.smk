rule people:
    input:
        config=config_file(D, "people"),
        manifest=f"{D}/photos/{{shard}}.parquet",
        models=ancient(BLAZEPOSE),
    output:
        f"{D}/people/{{shard}}.parquet",
    log:
        f"{D}/logs/people/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/people/{{shard}}.tsv"
    resources:
        **job(2000, 240),
    message:
        "Finding people: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.people --manifest {input.manifest:q} --models $(dirname {input.models[0]:q})"
        " --output {output:q} --config {input.config:q} > {log} 2>&1"
