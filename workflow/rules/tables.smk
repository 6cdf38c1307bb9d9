rule tables:
    input:
        metrics=expand(f"{R}/metrics/{{kimg}}.json", kimg=MILESTONES),
    output:
        expand(f"{R}/tables/comparison.{{suffix}}", suffix=["csv", "md", "tex"]),
        report(
            f"{R}/tables/comparison.html",
            caption="../report/comparison.rst",
            category="Measurements",
        ),
    log:
        f"{R}/logs/tables.log",
    benchmark:
        f"{R}/benchmarks/tables.tsv"
    resources:
        mem_mb=more(1000),
        runtime=more(30),
    message:
        "Making the tables"
    shell:
        "python -m ag3d.evaluation.tables --metrics {input.metrics} --output {R}/tables > {log} 2>&1"
