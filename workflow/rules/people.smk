rule people:
    input:
        manifest=f"{D}/photos/{{shard}}.parquet",
        models=ancient(BLAZEPOSE),
    output:
        f"{D}/people/{{shard}}.parquet",
    log:
        f"{D}/logs/people/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/people/{{shard}}.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(240),
    params:
        settings=section("people"),
    message:
        "Finding people: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.people --manifest {input.manifest} --models $(dirname {input.models[0]})"
        " --output {output} --settings {params.settings:q} > {log} 2>&1"
