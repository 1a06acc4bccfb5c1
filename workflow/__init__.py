"""What ties the stages together: Snakemake's rules, and the modules that keep DVC and Snakemake of one mind."""
