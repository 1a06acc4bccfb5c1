"""The link between the stages: Snakemake's rules, and the modules that keep DVC and Snakemake in step."""
