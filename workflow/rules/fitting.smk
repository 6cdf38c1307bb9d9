from ag3d.core.files import existing

IMPORTED = settings.fitting.method == "import"


rule fitting:
    input:
        people=f"{D}/people/{{shard}}.parquet",
        mattes=f"{D}/mattes/{{shard}}.zip",
        mattes_table=f"{D}/mattes/{{shard}}.parquet",
        manifest=f"{D}/photos/{{shard}}.parquet" if IMPORTED else [],
        imports=(
            ancient(
                local(existing(settings.fitting.imports.path, "fitting.imports.path"))
            )
            if IMPORTED
            else []
        ),
        body=ancient(BODY),
    output:
        f"{D}/fits/{{shard}}.parquet",
    log:
        f"{D}/logs/fitting/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/fitting/{{shard}}.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 1
    resources:
        mem_mb=more(3000),
        runtime=more(240),
    params:
        settings=section("fitting"),
        manifest=lambda wildcards, input: (
            f"--manifest {input.manifest}" if IMPORTED else ""
        ),
    message:
        "Fitting the body: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.fitting --people {input.people} --mattes {input.mattes} --body {input.body}"
        " {params.manifest} --output {output} --settings {params.settings:q} > {log} 2>&1"
