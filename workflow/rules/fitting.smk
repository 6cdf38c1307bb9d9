IMPORTED = settings.fitting.method == "import"


rule fitting:
    input:
        config=config_file(D, "fitting"),
        people=f"{D}/people/{{shard}}.parquet",
        mattes=f"{D}/matting/{{shard}}.zip",
        mattes_table=f"{D}/matting/{{shard}}.parquet",
        manifest=f"{D}/photos/{{shard}}.parquet" if IMPORTED else [],
        imports=(
            ancient(own("fitting.imports.path", settings.fitting.imports.path))
            if IMPORTED
            else []
        ),
        body=ancient(BODY),
    output:
        f"{D}/fitting/{{shard}}.parquet",
    log:
        f"{D}/logs/fitting/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/fitting/{{shard}}.tsv"
    resources:
        **job(3000, 240),
    message:
        "Fitting the body: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.fitting --people {input.people:q} --mattes {input.mattes:q} --body {input.body:q}"
        + (" --manifest {input.manifest:q}" if IMPORTED else "")
        + " --output {output:q} --config {input.config:q} > {log} 2>&1"
