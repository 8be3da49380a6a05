#!/usr/bin/env python3
"""Cuts the operations this program calls out of GitHub's published OpenAPI document.

    npm pack @octokit/openapi@23.0.2 && python3 cut.py octokit-openapi-23.0.2.tgz > github.json

The document is 70 MB; what is kept is what a request may look like. Answers, prose and examples are left out.
"""

import hashlib
import json
import sys
import tarfile

PACKAGE = "@octokit/openapi@23.0.2"
PACKAGE_SHA256 = "71a18407dd5e8464f4e0525daf03deabbe65abd9287d6adc7b5d98f516cd0d0c"
DOCUMENT = "package/generated/api.github.com.deref.json"
OPERATIONS = [
    ("get", "/user"),
    ("post", "/repos/{owner}/{repo}/statuses/{sha}"),
    ("get", "/repos/{owner}/{repo}/issues/{issue_number}/comments"),
    ("post", "/repos/{owner}/{repo}/issues/{issue_number}/comments"),
    ("patch", "/repos/{owner}/{repo}/issues/comments/{comment_id}"),
    ("get", "/repos/{owner}/{repo}/commits/{commit_sha}/pulls"),
    ("get", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews"),
    ("post", "/app/installations/{installation_id}/access_tokens"),
    ("get", "/repos/{owner}/{repo}/commits/{ref}/check-runs"),
    ("post", "/repos/{owner}/{repo}/check-runs"),
    ("patch", "/repos/{owner}/{repo}/check-runs/{check_run_id}"),
]
PROSE = {"description", "example", "examples", "title", "externalDocs"}


def bare(schema, names=False):
    """A schema without prose. A property may be called `description`: names of properties stay."""
    if isinstance(schema, dict):
        kept = {key: value for key, value in schema.items() if names or key not in PROSE and not key.startswith("x-")}
        return {key: bare(value, names=not names and key == "properties") for key, value in kept.items()}
    return [bare(one) for one in schema] if isinstance(schema, list) else schema


def operation(document, method, path):
    found = document["paths"][path][method]
    query = {one["name"]: bare(one["schema"]) for one in found.get("parameters", []) if one["in"] == "query"}
    content = found.get("requestBody", {}).get("content", {}).get("application/json")
    return {"method": method.upper(), "path": path, "query": query, "body": content and bare(content["schema"])}


def main():
    with open(sys.argv[1], "rb") as package:
        digest = hashlib.sha256(package.read()).hexdigest()
    if digest != PACKAGE_SHA256:
        sys.exit(f"{sys.argv[1]} has SHA-256 {digest}, not {PACKAGE_SHA256} of {PACKAGE}")
    with tarfile.open(sys.argv[1]) as package:
        document = json.load(package.extractfile(DOCUMENT))
    cut = {
        "source": {"package": PACKAGE, "sha256": digest, "document": DOCUMENT, "licence": "MIT"},
        "operations": [operation(document, *one) for one in OPERATIONS],
    }
    json.dump(cut, sys.stdout, indent=1, sort_keys=True)
    print()


main()
