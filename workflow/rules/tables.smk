# Values that others published on the data set of that name stand below.
PUBLISHED = local(
    os.path.join(workflow.basedir, "evaluation", "tables", "published.yaml")
)


rule tables:
    input:
        published=ancient(PUBLISHED),
        metrics=expand(f"{R}/metrics/{{kimg}}.json", kimg=MILESTONES),
    output:
        expand(f"{R}/tables/comparison.{{suffix}}", suffix=["csv", "md", "tex", "json"]),
        report(
            f"{R}/tables/comparison.html",
            caption="../report/comparison.rst",
            category="Measurements",
            labels={"shows": "tables"},
        ),
    log:
        f"{R}/logs/tables.log",
    benchmark:
        f"{R}/benchmarks/tables.tsv"
    resources:
        **job(1000, 30),
    params:
        data_set=settings.dataset_name,
    message:
        "Making the tables"
    shell:
        "python -m ag3d.evaluation.tables --metrics {input.metrics:q} --published {input.published:q}"
        " --data-set {params.data_set:q} --output $(dirname {output[0]:q}) > {log} 2>&1"
