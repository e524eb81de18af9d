"""summary.json against the table of docs/summary-schema.md."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def documented_fields():
    """Return {field: kinds of value}."""
    text = (ROOT / "docs" / "summary-schema.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", text, re.MULTILINE)
    assert len(rows) > 30
    return {name: kinds.strip().split(" or ") for name, kinds in rows}


KINDS = {
    "integer": int,
    "number": int | float,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "array": list,
}
NAMED = ("fitted", "errors", "versions")  # objects whose keys are data


def leaves(value, path=""):
    """Yield (documented name, value) of everything in a summary."""
    if isinstance(value, dict):
        for key, item in value.items():
            parent = path.partition(".")[0]
            if path in NAMED:
                key = "<package>" if parent == "versions" else "<variable>"
            yield from leaves(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and not path.endswith("block"):
        for item in value:
            yield from leaves(item, f"{path}[]")
    else:
        yield path, value


def check_against_schema(summary):
    """Check every value of a summary, and return the documented fields that it does not have."""
    documented = documented_fields()
    found = dict.fromkeys(documented, False)
    for name, value in leaves(summary):
        kinds = documented.get(name)
        if kinds is None and value is None:  # a list that is not known is null
            kinds = [*documented[f"{name}[]"], "null"]
            name = f"{name}[]"
        assert kinds is not None, f"{name} is not documented"
        assert any(isinstance(value, KINDS[kind]) for kind in kinds), (name, value)
        assert not isinstance(value, bool) or "boolean" in kinds
        found[name] = True
    return {name for name, seen in found.items() if not seen}
