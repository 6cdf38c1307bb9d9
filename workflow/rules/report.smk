rule report:
    input:
        shards("{D}/dataset/{shard}.zip"),
        f"{D}/rejected.parquet",
        f"{D}/index.json",
        f"{D}/poses.npy",
        f"{D}/truth.json" if SYNTHETIC else [],
        f"{R}/training/{LAST}/checkpoint.json",
        f"{R}/avatars/avatars.json",
        f"{R}/export/export.json",
        f"{R}/viewer.html",
        expand(f"{R}/metrics/{{kimg}}.json", kimg=MILESTONES),
        f"{R}/tables/comparison.json",
        config=config_file(R, "report", to_mapping(settings)),
        body=ancient(BODY),
    output:
        report(
            f"{R}/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"shows": "the whole run on one page"},
        ),
    log:
        f"{R}/logs/report.log",
    benchmark:
        f"{R}/benchmarks/report.tsv"
    resources:
        **job(3000, 60),
    message:
        "Writing the report"
    shell:
        "python -m ag3d.evaluation.report --dataset {D} --run {R} --body {input.body:q}"
        " --config {input.config:q} --output {output:q} > {log} 2>&1"
