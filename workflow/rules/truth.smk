if SYNTHETIC:

    rule truth:
        input:
            f"{D}/rejected.parquet",
            local(f"{D}/synthetic/truth/truth.parquet"),
            local(f"{D}/synthetic/truth/truth.zip"),
            body=ancient(BODY),
        output:
            report(
                f"{D}/truth.json",
                caption="../report/truth.rst",
                category="Data set",
                labels={"shows": "stages against the truth"},
            ),
        log:
            f"{D}/logs/truth.log",
        benchmark:
            f"{D}/benchmarks/truth.tsv"
        resources:
            **job(3000, 120),
        params:
            shards=settings.photos.shards,
        message:
            "Comparing every stage with the truth"
        shell:
            "python -m ag3d.evaluation.truth --folder {D} --truth {D}/synthetic/truth --body {input.body:q} --shards {params.shards}"
            " --output {output:q} > {log} 2>&1"
