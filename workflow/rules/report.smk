# Tables, figures and pages.


rule report:
    """Write the report: tables, claims, figures, a few videos."""
    input:
        code=code("report"),
        clips=OWNED["index"],
        metrics=[path for method in PARAMS.methods for path in OWNED[f"metrics@{method}"]],
        samples=[path for method in PARAMS.methods for path in OWNED[f"sample@{method}"]],
        portraits=[path for method in PARAMS.talking for path in OWNED[f"portraits@{method}"]],
        models=[path for stage, paths in OWNED.items() if stage.startswith("train") for path in paths],
        judges=OWNED["judges"],
        expert=OWNED["expert"],
    output:
        report(
            f"{REPORTS}/index.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "report"},
        ),
        report(
            f"{REPORTS}/claims.csv",
            caption="../report/claims.rst",
            category="Report",
            labels={"page": "claims"},
        ),
        [path for path in OWNED["report"] if not path.endswith(("index.html", "claims.csv"))],
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{LOGS}/benchmarks/report.tsv"
    priority: 20
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        cfg=settings.all(),
    message:
        "report"
    shell:
        f"python -m stages.report --data {DATA} --out {REPORTS} 2>&1 | tee {{log}}"
