"""Write the JSON schema of params.yaml, which Snakemake and editors read, from the settings' models::

python -m workflow.schema
"""

from __future__ import annotations

import argparse
import json

from stages.base.params import Params
from workflow.sources import ROOT

SCHEMA = ROOT / "workflow" / "schemas" / "params.schema.json"


def text() -> str:
    """The file's content."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Params.model_json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    SCHEMA.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
