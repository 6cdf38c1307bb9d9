rule fitting:
    input:
        people=f"{D}/people/{{shard}}.parquet",
        mattes=f"{D}/mattes/{{shard}}.zip",
        body=ancient(BODY),
    output:
        f"{D}/fits/{{shard}}.parquet",
    log:
        f"{D}/logs/fitting/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/fitting/{{shard}}.tsv"
    threads: 1
    resources:
        mem_mb=more(3000),
        runtime=more(240),
    params:
        settings=section("fitting"),
    message:
        "Fitting the body: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.fitting --people {input.people} --mattes {input.mattes} --body {input.body}"
        " --output {output} --settings {params.settings:q} > {log} 2>&1"
